-- Keeps what items of a worker said since the last call, until the items' results are stored, and publishes it: one message for
-- each job, since a message costs its readers more than the entries in it do.
--[[ arguments
incarnation      the worker
rest             job, index, attempt, tokens, ...: of each item
]]
-- Items that it does not hold any more are passed over, so that nothing is kept of an item that is finished. Answers 1, or 0 where the
-- lease is gone. A repeated call repeats tokens, which readers tell by their positions.
if not redis.call('ZSCORE', key('workers'), incarnation) then return 0 end
local names = {}
for i = REST, #ARGV, 4 do names[#names + 1] = ARGV[i] .. ' ' .. ARGV[i + 1] end
local attempts = call_with(names, 'HMGET', key('held', incarnation))
local jobs, items, lines = {}, {}, {}
for n, held in ipairs(attempts) do
  local i = REST + (n - 1) * 4
  local id, index, attempt, tokens = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if items[id] == nil then
    items[id] = redis.call('EXISTS', key('job', id)) == 1 and {}
    if items[id] then jobs[#jobs + 1], lines[id] = id, {id} end
  end
  if items[id] and held == attempt then
    redis.call('RPUSH', key('job', id, 'events', index), tokens)
    table.insert(items[id], index)
    table.insert(lines[id], index .. ' ' .. tokens)
  end
end
for _, id in ipairs(jobs) do
  if #items[id] > 0 then
    if call_with(items[id], 'SADD', key('job', id, 'streams')) ~= 0 then redis.call('HSET', key('job', id), 'streamed', 1) end
    redis.call('PUBLISH', key('said'), table.concat(lines[id], '\n'))
  end
end
return 1
