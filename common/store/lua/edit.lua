-- edit(job, field, value): change a live job. Fields: paused (0 or 1), priority, deadline (ms), token_budget, error_rate (of
-- the last three 0 is none). A limit that the job is past already stops it.
-- Answers {outcome, rings}: `done`; `terminal`; `gone`.
local id, field, value = ARGV[1], ARGV[2], tonumber(ARGV[3])
local job = load_job(id)
if not job then return {'gone', 0} end
if TERMINAL[job.status] then return {'terminal', 0} end
redis.call('HSET', key('job', id), field, ARGV[3])
if field == 'deadline' then
  redis.call('ZREM', key('due'), 'expire:' .. id)
  if value > 0 then redis.call('ZADD', key('due'), value, 'expire:' .. id) end
else
  job[field] = value
end
if field == 'paused' and value == 1 then wish(job) end
job.listed = nil -- whatever it was: its place may be another
limit(job)
finish(job)
return {'done', wake(job.model, claimable(job))}
