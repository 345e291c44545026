-- Refuses an API key from now on. With the tenant's last key its browser sessions end, too.
--[[ arguments
id               the key
]]
-- Answers 1, or 0 where there is no such key.
local record = key('key', id)
local tenant = redis.call('HGET', record, 'tenant')
if not tenant then return 0 end
if redis.call('HEXISTS', record, 'revoked_at') == 0 then
  redis.call('HSET', record, 'revoked_at', string.format('%.3f', NOW / 1000))
end
for _, other_id in ipairs(redis.call('SMEMBERS', key('keys'))) do
  local other = redis.call('HMGET', key('key', other_id), 'tenant', 'revoked_at')
  if other[1] == tenant and not other[2] then return 1 end
end
end_sessions(tenant)
return 1
