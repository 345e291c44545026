-- permit(process, of, wanted, enough, most, lease): how many permits `of` a tenant or an address a web process may have from now on, if all
-- processes together may have `most`. Answers `wanted` or as many as are left; if that is less than `enough`, 0, and it has what it had.
-- Absolute, so that one sent again asks for nothing more. A process whose lease is over counts no more.
local process, of, lease = ARGV[1], ARGV[2], tonumber(ARGV[6])
redis.call('ZREMRANGEBYSCORE', key('webs'), '-inf', NOW)
local left = tonumber(ARGV[5])
for _, other in ipairs(redis.call('ZRANGE', key('webs'), 0, -1)) do
  if other ~= process then left = left - (tonumber(redis.call('HGET', key('web', other), of)) or 0) end
end
local given = math.min(tonumber(ARGV[3]), left)
if given < tonumber(ARGV[4]) then return 0 end
local had = tonumber(redis.call('HGET', key('web', process), of)) or 0
redis.call('HSET', key('web', process), of, math.max(had, given))
redis.call('PEXPIRE', key('web', process), lease)
redis.call('ZADD', key('webs'), NOW + lease, process)
redis.call('PEXPIRE', key('webs'), lease)
return given
