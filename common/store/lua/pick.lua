-- Reads what is stored of single items of a job, all of one moment.
--[[ arguments
id               the job
beside           number: 1 for what is kept beside the items, too
rest             the items' indices, in ascending order
]]
-- Answers {states, a byte each; bytes of each result, four bytes each, 0 for none; the results behind each other; the first index
-- of each item's chunk, four bytes each; then of each chunk its first index, the chunk, and what is beside it, '' for nothing}. All are
-- empty of a job that is gone.
local indices = {}
for i = REST, #ARGV do indices[#indices + 1] = ARGV[i] end
local st, line = key('job', id, 'st'), key('job', id, 'starts')
if #indices == 0 or redis.call('EXISTS', st) == 0 then return {'', '', '', ''} end

local states, lengths, starts, answer = {}, {}, {}, {'', '', '', ''}
local results = redis.call('HMGET', key('job', id, 'out'), unpack(indices))
local start, next_start = 0, -1 -- of the chunk that was looked up last, and of the one behind it
for i, index in ipairs(indices) do
  results[i] = results[i] or ''
  lengths[i] = struct.pack('>I4', #results[i])
  states[i] = redis.call('GETRANGE', st, index, index)
  if tonumber(index) >= next_start then
    start = tonumber(redis.call('ZREVRANGEBYSCORE', line, index, '-inf', 'LIMIT', 0, 1)[1]) or 0
    next_start = tonumber(redis.call('ZRANGEBYSCORE', line, '(' .. index, '+inf', 'LIMIT', 0, 1)[1]) or math.huge
    answer[#answer + 1] = start
    local field = string.format('%d', start)
    answer[#answer + 1] = redis.call('HGET', key('job', id, 'in'), field) or ''
    answer[#answer + 1] = beside == 1 and redis.call('HGET', key('job', id, 'side'), field) or ''
  end
  starts[i] = struct.pack('>I4', start)
end
answer[1], answer[2], answer[3], answer[4] =
  table.concat(states), table.concat(lengths), table.concat(results), table.concat(starts)
return answer
