-- create_batch(batch, tenant, field, value, ...): a batch whose file is to be validated, now. Answers 1, or 0 when there is one already.
local id, tenant = ARGV[1], ARGV[2]
if redis.call('EXISTS', key('batch', id)) == 1 then return 0 end
redis.call('HSET', key('batch', id), 'tenant', tenant, 'created_at', string.format('%d', NOW), 'tries', 0, unpack(ARGV, 3))
redis.call('ZADD', key('tenant', tenant, 'batches'), NOW, id)
redis.call('ZADD', key('batches:due'), NOW, id)
return 1
