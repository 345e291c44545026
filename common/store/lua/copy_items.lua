-- Stages the items that a job was made of, to make another of them.
--[[ arguments
id               the job
stage            where they go
items            number: how many they were
]]
-- Answers 1, or 0 where they cannot be had any more: the job is gone, has got more items since, or is over and its items' slots are
-- not kept.
local job = load_job(id)
if not job or job.total ~= items then return 0 end
if redis.call('HEXISTS', key('job', job.id), 'n_min') == 1 and redis.call('EXISTS', key('job', job.id, 'needs')) == 0 then return 0 end
for _, part in ipairs({'in', 'starts', 'needs', 'side', 'prep'}) do
  redis.call('COPY', key('job', job.id, part), key('stage', stage, part), 'REPLACE')
  redis.call('EXPIRE', key('stage', stage, part), 3600)
end
return 1
