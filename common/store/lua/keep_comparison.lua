-- Keeps what was computed of a comparison, and renews the claim on it.
--[[ arguments
id               the comparison
claim            as claim_comparison was given it
ms               number: how long the claim lasts from now
status           `done` or `failed` where this ends it, else empty
rest             fields of the record and their values
]]
-- Answers 1; 0 where the claim is another's by now, or the comparison is gone.
local record = key('comparison', id)
if redis.call('HGET', record, 'claim') ~= claim then return 0 end
if #ARGV >= REST then redis.call('HSET', record, unpack(ARGV, REST, #ARGV)) end
if status ~= '' then
  end_comparison(id, status)
else
  redis.call('ZADD', key('comparisons:due', redis.call('HGET', record, 'tenant')), 'XX', NOW + ms, id)
end
return 1
