-- keep_file(file, tenant, ttl in s, stored bytes, most bytes the tenant may keep, field, value, ...): an upload that is complete becomes a
-- file, until its time is up. Answers 1, or 0 where the tenant would keep too much (nothing is left then).
-- The tenant's list lives as long as its longest-lived file; names of files that are gone are taken out by whoever reads it.
local LATE = 600 -- s: a file whose purge nobody runs goes by itself
local id, tenant, ttl, stored = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local filekey, index = key('file', id), key('tenant', tenant, 'files')
if redis.call('EXISTS', filekey) == 1 then return 1 end
if over_stored(tenant, stored, tonumber(ARGV[5])) then
  redis.call('UNLINK', key('file', id, 'data'))
  return 0
end
local expires_at = string.format('%d', NOW + ttl * 1000)
redis.call('HSET', filekey, 'created_at', string.format('%d', NOW), 'expires_at', expires_at, 'stored', stored, unpack(ARGV, 6))
redis.call('EXPIRE', filekey, ttl + LATE)
redis.call('EXPIRE', key('file', id, 'data'), ttl + LATE)
redis.call('ZADD', index, NOW, id)
redis.call('ZADD', key('due'), expires_at, 'file:' .. id)
if redis.call('TTL', index) < ttl + LATE then redis.call('EXPIRE', index, ttl + LATE) end
count_stored(tenant, 'files', stored, recounted(tenant, 'files', NOW) and stored or 0)
return 1
