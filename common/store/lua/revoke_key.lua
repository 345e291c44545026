-- Refuses an API key from now on. With the tenant's last key its browser sessions end, and its share links stop working.
--[[ arguments
id               the key
tenant           whose key it must be; '' for anyone's
]]
-- Answers 1, or 0 where there is no such key.
local record = key('key', id)
local owner = redis.call('HGET', record, 'tenant')
if not owner or (tenant ~= '' and tenant ~= owner) then return 0 end
local seconds = string.format('%.3f', NOW / 1000)
if redis.call('HEXISTS', record, 'revoked_at') == 0 then redis.call('HSET', record, 'revoked_at', seconds) end
for _, other in ipairs(redis.call('ZRANGE', keys_of(owner), 0, -1)) do
  if redis.call('HEXISTS', key('key', other), 'revoked_at') == 0 then return 1 end
end
end_sessions(owner)
redis.call('HSET', key('tenant', owner), 'closed_at', seconds)
return 1
