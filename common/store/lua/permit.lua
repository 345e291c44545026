-- Gives a web process permits for what it keeps open.
--[[ arguments
process          the web process
of               whose: a kind, and a tenant or an address
wanted           number: permits that it is to have from now on
enough           number: fewer than these are of no use
most             number: permits that all processes together may have
lease            number: ms
]]
-- Answers `wanted` or as many as are left; where that is less than `enough`, 0, and the process has what it had. The number is
-- absolute, so that a call that is sent again asks for nothing more. A process whose lease is over counts no more.
redis.call('ZREMRANGEBYSCORE', key('webs'), '-inf', NOW)
local left = most
for _, other in ipairs(redis.call('ZRANGE', key('webs'), 0, -1)) do
  if other ~= process then left = left - (tonumber(redis.call('HGET', key('web', other), of)) or 0) end
end
local given = math.min(wanted, left)
if given < enough then return 0 end
local had = tonumber(redis.call('HGET', key('web', process), of)) or 0
redis.call('HSET', key('web', process), of, math.max(had, given))
redis.call('PEXPIRE', key('web', process), lease)
redis.call('ZADD', key('webs'), NOW + lease, process)
redis.call('PEXPIRE', key('webs'), lease)
return given
