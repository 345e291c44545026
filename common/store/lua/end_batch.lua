-- A validation is over.
--[[ arguments
id               the batch
claim            as claim_batch was given it
outcome          queued (a job was made of the batch, and says the rest), failed, cancelled or expired
errors           JSON of what is wrong with the file, or ''
retention        number: ms that a batch without a job is kept
]]
-- Answers 1 where the webhook worker should be rung. Does nothing where the claim is another's by now.
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
