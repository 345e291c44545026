-- Replaces what a tenant noted of a job, which may be over.
--[[ arguments
id               the job
metadata         as JSON
]]
-- Answers 1, or 0: no such job.
local status = redis.call('HGET', key('job', id), 'status')
if not status then return 0 end
redis.call('HSET', key('job', id), 'metadata', metadata)
tell(id, status)
return 1
