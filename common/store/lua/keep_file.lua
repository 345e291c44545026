-- Makes an upload that is complete a file, until its time is up.
--[[ arguments
id               the file
tenant           its tenant
ttl              number: s that it is kept
stored           number: its bytes as stored
most             number: bytes that the tenant may keep, 0 for no limit
rest             field, value, ...: of the file's hash
]]
-- Answers 1, or 0 where the tenant would keep too much (nothing is left then). The tenant's list lives as long as its longest-lived
-- file; a reader of the list removes the names of files that are gone.
local LATE = 600 -- s after its time: then its TTL ends, if no tick has purged it
local filekey, index = key('file', id), key('tenant', tenant, 'files')
if redis.call('EXISTS', filekey) == 1 then return 1 end
if over_stored(tenant, stored, most) then
  redis.call('UNLINK', key('file', id, 'data'))
  return 0
end
local expires_at = string.format('%d', NOW + ttl * 1000)
redis.call('HSET', filekey, 'created_at', string.format('%d', NOW), 'expires_at', expires_at, 'stored', stored, unpack(ARGV, REST))
redis.call('EXPIRE', filekey, ttl + LATE)
redis.call('EXPIRE', key('file', id, 'data'), ttl + LATE)
redis.call('ZADD', index, NOW, id)
redis.call('ZADD', key('due'), expires_at, 'file:' .. id)
if redis.call('TTL', index) < ttl + LATE then redis.call('EXPIRE', index, ttl + LATE) end
count_stored(tenant, 'files', stored, recounted(tenant, 'files', NOW) and stored or 0)
return 1
