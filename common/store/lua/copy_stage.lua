-- Stages again what is staged, a part at a time, for another job of the same items.
--[[ arguments
stage            what is there
into             where it goes
first            number: the chunk to begin with
count            number: how many chunks are copied
]]
-- Answers 1, or 0 where the time of what was staged ran out. Sent again, it does the same again.
local from, to = staged_keys(stage), staged_keys(into)
if redis.call('EXISTS', from['in']) == 0 then return 0 end
local fields = redis.call('ZRANGE', from.starts, first, first + count - 1)
for _, start in ipairs(fields) do redis.call('ZADD', to.starts, start, start) end
if first == 0 then -- with what is small: the digests of custom_ids, and the slots that each item takes
  for _, field in ipairs(redis.call('HKEYS', from['in'])) do
    if string.sub(field, 1, 1) == '#' then fields[#fields + 1] = field end
  end
  redis.call('COPY', from.needs, to.needs, 'REPLACE')
end
for _, part in ipairs({'in', 'side'}) do
  for _, field in ipairs(fields) do
    local blob = redis.call('HGET', from[part], field)
    if blob then redis.call('HSET', to[part], field, blob) end
  end
end
for _, part in pairs(to) do redis.call('EXPIRE', part, 3600) end
return 1
