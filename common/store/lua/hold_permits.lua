-- Keeps the permits that a web process has, all of them, and renews its lease. With none it is forgotten.
--[[ arguments
process          the web process
lease            number: ms
rest             of, count, ...
]]
redis.call('DEL', key('web', process))
if #ARGV < REST then
  redis.call('ZREM', key('webs'), process)
  return
end
for i = REST, #ARGV, 2 do redis.call('HSET', key('web', process), ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', key('web', process), lease)
redis.call('ZADD', key('webs'), NOW + lease, process)
redis.call('PEXPIRE', key('webs'), lease)
