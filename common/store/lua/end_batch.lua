-- end_batch(batch, claim, outcome, errors, retention): a validation is over. Outcomes: `queued` (a job was made of the batch, and
-- tells the rest), `failed`, `cancelled`, `expired`; `errors` is JSON or ''. Without a job the batch is purged after `retention` ms.
-- Answers 1 when the webhook worker should be rung. Does nothing when the claim is another's by now.
local id, claim, outcome, errors, retention = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local record = key('batch', id)
if redis.call('HGET', record, 'claim') ~= claim then return 0 end
local tenant = redis.call('HGET', record, 'tenant')
unqueue_batch('due', tenant, id)
redis.call('HDEL', record, 'claim', 'tries')
redis.call('HSET', record, outcome .. '_at', string.format('%d', NOW))
if outcome == 'queued' then
  queue_batch('sizing', tenant, id, NOW)
  return 0
end
if errors ~= '' then redis.call('HSET', record, 'errors', errors) end
redis.call('ZADD', key('due'), NOW + retention, 'batch:' .. id)
if redis.call('HEXISTS', record, 'webhook') == 1 then
  outbox(key('batch', id, 'hooks'), id, 'batch.' .. outcome, cjson.encode({id = id}))
end
return hooked() and 1 or 0
