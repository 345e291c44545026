-- Renews a claim on a batch.
--[[ arguments
id               the batch
claim            as claim_batch was given it
ms               number: how long the claim lasts from now
free             1 where this try does not count and the claim ends with `ms`, else 0
]]
-- Answers `lost` where it is another's by now, `cancel` where the batch is to be cancelled, else `held`.
local record = key('batch', id)
if redis.call('HGET', record, 'claim') ~= claim then return 'lost' end
queue_batch('due', redis.call('HGET', record, 'tenant'), id, NOW + ms)
if free == '1' then
  redis.call('HINCRBY', record, 'tries', -1)
  redis.call('HDEL', record, 'claim')
end
return redis.call('HEXISTS', record, 'cancelling_at') == 1 and 'cancel' or 'held'
