-- Keeps what was computed of a comparison, and renews the claim on it.
--[[ arguments
id               the comparison
claim            as claim_comparison was given it
ms               number: how long the claim lasts from now
status           `done` or `failed` where this ends it, `queued` where others are to go on, else empty
blocks           number: how many blocks of rows it has where it is done, else 0
rest             fields of the record and their values
]]
-- Answers 1; 0 where the claim is another's by now, or the comparison is gone, or where it is done while blocks are missing: a server
-- that was set back has forgotten them, and whoever claims it next computes them again.
local record = key('comparison', id)
if redis.call('HGET', record, 'claim') ~= claim then return 0 end
if status == 'done' then
  local there = 0
  for _, field in ipairs(redis.call('HKEYS', record)) do
    if string.sub(field, 1, 5) == 'rows:' then there = there + 1 end
  end
  if there ~= blocks then return 0 end
end
if #ARGV >= REST then redis.call('HSET', record, unpack(ARGV, REST, #ARGV)) end
if status == 'queued' then
  redis.call('HDEL', record, 'claim')
  redis.call('HINCRBY', record, 'tries', -1)
  ms = 0
elseif status ~= '' then
  end_comparison(id, status)
  return 1
end
redis.call('ZADD', key('comparisons:due', redis.call('HGET', record, 'tenant')), 'XX', NOW + ms, id)
return 1
