-- Keeps a new API key of a tenant. The first key makes the tenant.
--[[ arguments
tenant           whose key it is
id               the key's
name             its name in lists
digest           of its secret
most             number: keys of the tenant that may be valid at once
kept             number: revoked keys that stay in its list; those revoked before are forgotten
]]
-- Answers 1, or 0 where the tenant has as many keys as it may. A call that is sent again finds its key there.
local record = key('key', id)
if redis.call('EXISTS', record) == 1 then return 1 end
local list = keys_of(tenant)
local valid, revoked = 0, {}
for _, other in ipairs(redis.call('ZRANGE', list, 0, -1)) do
  local at = redis.call('HGET', key('key', other), 'revoked_at')
  if at then revoked[#revoked + 1] = {tonumber(at) or 0, other} else valid = valid + 1 end
end
if valid >= most then return 0 end
table.sort(revoked, function(a, b) return a[1] < b[1] end)
for i = 1, #revoked - kept do
  redis.call('DEL', key('key', revoked[i][2]))
  redis.call('SREM', key('keys'), revoked[i][2])
  redis.call('ZREM', list, revoked[i][2])
end
local seconds = string.format('%.3f', NOW / 1000)
redis.call('SADD', key('tenants'), tenant)
redis.call('HSETNX', key('tenant', tenant), 'created_at', seconds)
redis.call('HDEL', key('tenant', tenant), 'closed_at')
redis.call('HSET', record, 'tenant', tenant, 'name', name, 'digest', digest, 'created_at', seconds)
redis.call('SADD', key('keys'), id)
redis.call('ZADD', list, seconds, id)
return 1
