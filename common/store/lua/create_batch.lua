-- Keeps a batch whose file is to be validated, now.
--[[ arguments
id               the batch
tenant           its tenant
idem             its idempotency key, or ''
fingerprint      of its content, with the key
most             number: batches of the tenant that may wait for their validation; 0 for no limit
rest             field, value, ...: of the batch's hash
]]
-- Answers {outcome, batch}: `new`; `same` (this key and content made that batch already, which may be gone by now); `conflict` (the
-- key had other content); `full` (as many wait as may). A call that is sent again because its reply was lost answers the same batch.
if redis.call('EXISTS', key('batch', id)) == 1 then return {'new', id} end
if idem ~= '' then
  local outcome, made = made_before(key('batchidem', tenant, idem), fingerprint, fingerprint, 'batch')
  if outcome then return {outcome, made} end
end
if most > 0 and redis.call('ZCARD', key('batches:due', tenant)) >= most then return {'full', ''} end
if idem ~= '' then
  redis.call('SET', key('batchidem', tenant, idem), fingerprint .. ' ' .. id, 'EX', 86400)
end
redis.call('HSET', key('batch', id), 'tenant', tenant, 'created_at', string.format('%d', NOW), 'tries', 0, unpack(ARGV, REST))
redis.call('ZADD', key('tenant', tenant, 'batches'), NOW, id)
queue_batch('due', tenant, id, NOW)
return {'new', id}
