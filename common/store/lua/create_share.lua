-- Makes a link with which anybody can read one job.
--[[ arguments
id               the job
tenant           whose job it must be
share            the digest of the link's secret
name             for whom it is
most             number: links that a job may have
]]
-- Answers 1; 0 where the job has as many links as it may; -1 where there is no such job. A call that is sent again finds its link.
if redis.call('HGET', key('job', id), 'tenant') ~= tenant then return -1 end
local shares = key('job', id, 'shares')
if redis.call('HEXISTS', shares, share) == 1 then return 1 end
if redis.call('HLEN', shares) >= most then return 0 end
redis.call('HSET', shares, share, cjson.encode({name = name, created_at = NOW / 1000}))
redis.call('SADD', key('beside'), id)
return 1
