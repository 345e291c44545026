-- create_batch(batch, tenant, idempotency key, fingerprint, field, value, ...): a batch whose file is to be validated, now.
-- Answers {outcome, batch}: `new`; `same` (this key and content made that batch already, which may be gone by now); `conflict` (the
-- key had other content). Repeating a call whose reply was lost answers the same batch.
local id, tenant, idem, fingerprint = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', key('batch', id)) == 1 then return {'new', id} end
if idem ~= '' then
  local record = key('batchidem', tenant, idem)
  local outcome, made = made_before(record, fingerprint, 'batch')
  if outcome then return {outcome, made} end
  redis.call('SET', record, fingerprint .. ' ' .. id, 'EX', 86400)
end
redis.call('HSET', key('batch', id), 'tenant', tenant, 'created_at', string.format('%d', NOW), 'tries', 0, unpack(ARGV, 5))
redis.call('ZADD', key('tenant', tenant, 'batches'), NOW, id)
redis.call('ZADD', key('batches:due'), NOW, id)
return {'new', id}
