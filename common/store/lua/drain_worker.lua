-- Has a worker take no more items, or take them again.
--[[ arguments
incarnation      the worker
drained          1 or 0
]]
-- What it runs goes on to its end. Answers {found, rings}: `found` is 0 where it has no lease; with a ring for it where it takes items
-- again and does not listen. A worker that starts over under a new name takes items again.
if not redis.call('ZSCORE', key('workers'), incarnation) then return {0, 0} end
local workerkey = key('worker', incarnation)
local model = redis.call('HGET', workerkey, 'model')
if drained == '1' then
  redis.call('HSET', workerkey, 'drained', 1)
  redis.call('ZREM', key('room', model), incarnation)
  redis.call('ZREM', key('woken', model), incarnation)
  return {1, 0}
end
redis.call('HDEL', workerkey, 'drained')
return {1, redis.call('PUBLISH', key('work', incarnation), model) > 0 and 0 or 1}
