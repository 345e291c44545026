-- hold_batch(batch, claim, ms, free): the claim lasts `ms` from now; with `free` 1 this try does not count.
-- Answers `lost` when it is another's by now, `cancel` when the batch is to be cancelled, else `held`.
local id, record = ARGV[1], key('batch', ARGV[1])
if redis.call('HGET', record, 'claim') ~= ARGV[2] then return 'lost' end
queue_batch('due', redis.call('HGET', record, 'tenant'), id, NOW + tonumber(ARGV[3]))
if ARGV[4] == '1' then
  redis.call('HINCRBY', record, 'tries', -1)
  redis.call('HDEL', record, 'claim')
end
return redis.call('HEXISTS', record, 'cancelling_at') == 1 and 'cancel' or 'held'
