-- Stores the scores of a chunk of a job's items, and renews the claim.
--[[ arguments
id               the evaluation
claim            as claim_evaluation was given it
start            the chunk's first item
done             number: items that are scored with it
ms               number: how long the claim lasts from now
blob             the scores (`score_chunk.py`)
]]
-- Answers 1, or 0 where it is another's by now, over or removed, or where the scores before these are not there: a server that was set
-- back has forgotten them, and whoever claims it next goes on from what is there. A call that is sent again answers 1 again.
if not holds(id, claim) then return 0 end
local record, scores = key('eval', id), key('eval', id, 'scores')
local about = redis.call('HMGET', record, 'job', 'tenant', 'done')
local before = tonumber(about[3])
if before ~= tonumber(start) and before ~= done then return 0 end
grow(load_job(about[1]), #blob - redis.call('HSTRLEN', scores, start))
redis.call('HSET', scores, start, blob)
redis.call('HSET', record, 'done', done, 'tries', 0)
line_up('evals', 'due', about[2], id, NOW + ms)
tell(about[1])
return 1
