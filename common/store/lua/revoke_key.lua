-- revoke_key(key id): the key is refused from now on. With the tenant's last key its browser sessions end, too.
-- Answers 1, or 0 when there is no such key.
local record = key('key', ARGV[1])
local tenant = redis.call('HGET', record, 'tenant')
if not tenant then return 0 end
if redis.call('HEXISTS', record, 'revoked_at') == 0 then
  redis.call('HSET', record, 'revoked_at', string.format('%.3f', NOW / 1000))
end
for _, id in ipairs(redis.call('SMEMBERS', key('keys'))) do
  local other = redis.call('HMGET', key('key', id), 'tenant', 'revoked_at')
  if other[1] == tenant and not other[2] then return 1 end
end
end_sessions(tenant)
return 1
