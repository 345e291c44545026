-- Keeps what items of a worker said since the last call, until the items' results are stored, and publishes it: one message for
-- each job, since a message costs its readers more than the entries in it do.
--[[ arguments
incarnation      the worker
rest             job, index, attempt, tokens, ...: of each item
]]
-- Items that it does not hold any more are passed over, so that nothing is kept of an item that is finished. Answers 1, or 0 where the
-- lease is gone. A repeated call repeats tokens, which readers tell by their positions.
if not redis.call('ZSCORE', key('workers'), incarnation) then return 0 end
local jobs, said = {}, {}
for i = REST, #ARGV, 4 do
  local id, index, attempt, tokens = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('HGET', key('held', incarnation), id .. ' ' .. index) == attempt and redis.call('EXISTS', key('job', id)) == 1 then
    if redis.call('SADD', key('job', id, 'streams'), index) == 1 then redis.call('HSET', key('job', id), 'streamed', 1) end
    redis.call('RPUSH', key('job', id, 'events', index), tokens)
    if not said[id] then
      jobs[#jobs + 1], said[id] = id, {}
    end
    table.insert(said[id], index .. ' ' .. tokens)
  end
end
for _, id in ipairs(jobs) do
  redis.call('PUBLISH', key('said'), id .. '\n' .. table.concat(said[id], '\n'))
end
return 1
