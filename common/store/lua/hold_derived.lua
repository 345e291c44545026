-- Renews a claim on a job that is being made of the rows of others.
--[[ arguments
id               the job
claim            as claim_derived was given it
ms               number: how long the claim lasts from now
free             1 where this try does not count and the claim ends with `ms`, else 0
]]
-- Answers 1, or 0 where the claim is another's by now, or the job waits no more.
local about = redis.call('HMGET', key('job', id), 'waiting', 'claim', 'tenant')
if about[1] ~= '1' or about[2] ~= claim then return 0 end
queue_derived(about[3], id, NOW + ms)
if free == '1' then
  redis.call('HINCRBY', key('job', id), 'tries', -1)
  redis.call('HDEL', key('job', id), 'claim')
end
return 1
