-- create_batch(batch, tenant, idempotency key, fingerprint, most, field, value, ...): a batch whose file is to be validated, now.
-- Answers {outcome, batch}: `new`; `same` (this key and content made that batch already, which may be gone by now); `conflict` (the
-- key had other content); `full` (`most` batches of the tenant, 0 for no limit, wait for their validation).
-- Repeating a call whose reply was lost answers the same batch.
local id, tenant, idem, fingerprint, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if redis.call('EXISTS', key('batch', id)) == 1 then return {'new', id} end
if idem ~= '' then
  local outcome, made = made_before(key('batchidem', tenant, idem), fingerprint, 'batch')
  if outcome then return {outcome, made} end
end
if most > 0 and redis.call('ZCARD', key('batches:due', tenant)) >= most then return {'full', ''} end
if idem ~= '' then
  redis.call('SET', key('batchidem', tenant, idem), fingerprint .. ' ' .. id, 'EX', 86400)
end
redis.call('HSET', key('batch', id), 'tenant', tenant, 'created_at', string.format('%d', NOW), 'tries', 0, unpack(ARGV, 6))
redis.call('ZADD', key('tenant', tenant, 'batches'), NOW, id)
queue_batch('due', tenant, id, NOW)
return {'new', id}
