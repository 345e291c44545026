-- Keeps a draft of the submit form.
--[[ arguments
tenant           its tenant
draft            its id
age              number: s that it is kept
most             number: drafts that the tenant may have
body             what was typed, compressed
]]
-- Answers 1. Of more drafts than may be, those that were changed longest ago are removed.
local drafts = key('tenant', tenant, 'forms')
redis.call('ZREMRANGEBYSCORE', drafts, '-inf', NOW - age * 1000)
redis.call('ZADD', drafts, NOW, draft)
redis.call('EXPIRE', drafts, age)
redis.call('SET', key('form', tenant, draft), body, 'EX', age)
for _, old in ipairs(redis.call('ZREVRANGE', drafts, most, -1)) do
  redis.call('ZREM', drafts, old)
  redis.call('UNLINK', key('form', tenant, old))
end
return 1
