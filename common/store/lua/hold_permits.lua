-- hold_permits(process, lease, of, count, ...): the permits that a web process has, all of them; renews its lease. With none it is forgotten.
local process, lease = ARGV[1], tonumber(ARGV[2])
redis.call('DEL', key('web', process))
if #ARGV == 2 then
  redis.call('ZREM', key('webs'), process)
  return
end
for i = 3, #ARGV, 2 do redis.call('HSET', key('web', process), ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', key('web', process), lease)
redis.call('ZADD', key('webs'), NOW + lease, process)
redis.call('PEXPIRE', key('webs'), lease)
