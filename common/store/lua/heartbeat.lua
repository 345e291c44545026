-- Renews the lease of a worker.
--[[ arguments
incarnation      the worker
lease            number: ms from now
call             the number of its last exchange, or ''
count            number: items that it holds
room             free slots of an engine that serves several models, or '' for what the last exchange left
rest             job, ...: that these are of
]]
-- Answers {alive, rings that nobody took yet, job, wish, ...}. `alive` is 0 where the lease is gone, or where the server lost the tail
-- of its log: it counts fewer calls than the worker made, or after as many holds other items for it. These go back, and the worker
-- must start over. More calls than the worker knows of are one whose reply is under way. A wish is `cancelled`, `expired`, `paused`
-- or `gone`, for each of the named jobs that should not run on.
local workerkey = key('worker', incarnation)
if not redis.call('ZSCORE', key('workers'), incarnation) then return {0} end
local known, made = tonumber(redis.call('HGET', workerkey, 'call')) or 0, tonumber(call) or 0
if known < made or known == made and redis.call('HLEN', key('held', incarnation)) ~= count then
  hand_back(incarnation, false, 0)
  return {0}
end
redis.call('ZADD', key('workers'), NOW + lease, incarnation)
-- The engine's other models take slots between two exchanges of this one.
if room ~= '' then redis.call('HSET', workerkey, 'room', redis.call('HEXISTS', workerkey, 'drained') == 1 and 0 or room) end
local answer = {1, redis.call('LLEN', 'generate.' .. redis.call('HGET', workerkey, 'model'))}
for i = REST, #ARGV do
  local job = load_job(ARGV[i])
  local wanted = not job and 'gone' or job.cancel_requested == 1 and 'cancelled' or job.deadline_passed == 1 and 'expired'
    or job.paused == 1 and 'paused'
  if wanted then
    answer[#answer + 1] = ARGV[i]
    answer[#answer + 1] = wanted
  end
end
return answer
