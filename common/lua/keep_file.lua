-- keep_file(file, tenant, ttl in s, field, value, ...): an upload that is complete becomes a file, until its time is up. Answers 1.
-- The tenant's list lives as long as its longest-lived file; names of files that expired are taken out by whoever reads it.
local id, tenant, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local filekey, index = key('file', id), key('tenant', tenant, 'files')
if redis.call('EXISTS', filekey) == 1 then return 1 end
redis.call('HSET', filekey, 'created_at', string.format('%d', NOW), 'expires_at', string.format('%d', NOW + ttl * 1000), unpack(ARGV, 4))
redis.call('EXPIRE', filekey, ttl)
redis.call('EXPIRE', key('file', id, 'data'), ttl)
redis.call('ZADD', index, NOW, id)
if redis.call('TTL', index) < ttl then redis.call('EXPIRE', index, ttl) end
return 1
