-- Reads what is stored of items [first, first + count), fewer at the end of the job, all of one moment.
--[[ arguments
id               the job
first            number: an index
count            number: items
]]
-- Answers {states, a byte each; bytes of each result, four bytes each, 0 for none; the results behind each other; then of each
-- chunk its first index and the chunk}. In one string the results cost a client a fraction of what an array of them does.
local states = redis.call('GETRANGE', key('job', id, 'st'), first, first + count - 1)
if states == '' then return {'', '', ''} end

local indices, lengths = {}, {}
for i = 1, #states do indices[i] = string.format('%d', first + i - 1) end
local results = redis.call('HMGET', key('job', id, 'out'), unpack(indices))
for i, result in ipairs(results) do
  results[i] = result or ''
  lengths[i] = struct.pack('>I4', #results[i])
end

local answer = {states, table.concat(lengths), table.concat(results)}
local starts = redis.call('ZREVRANGEBYSCORE', key('job', id, 'starts'), first, '-inf', 'LIMIT', 0, 1)
for _, start in ipairs(redis.call('ZRANGEBYSCORE', key('job', id, 'starts'), '(' .. first, '(' .. first + #states)) do
  starts[#starts + 1] = start
end
for _, start in ipairs(starts) do
  answer[#answer + 1] = tonumber(start)
  answer[#answer + 1] = redis.call('HGET', key('job', id, 'in'), start)
end
return answer
