-- Renews a claim on an evaluation, or gives it back.
--[[ arguments
id               the evaluation
claim            as claim_evaluation was given it
ms               number: how long the claim lasts from now
free             1 where it ends with `ms` and this try does not count, else 0
rest             field, value, ...: to note in its record
]]
-- Answers 1, or 0 where it is another's by now, over or removed.
if not holds(id, claim) then return 0 end
local record = key('eval', id)
line_up('evals', 'due', redis.call('HGET', record, 'tenant'), id, NOW + ms)
if free == '1' then
  redis.call('HSET', record, 'tries', math.max(0, tonumber(redis.call('HGET', record, 'tries')) - 1))
  redis.call('HDEL', record, 'claim')
end
if ARGV[REST] then redis.call('HSET', record, unpack(ARGV, REST)) end
return 1
