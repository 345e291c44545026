-- claim_batch(lease, claim): take a batch that waits for its validation, for `lease` ms. Answers {batch, how often it was claimed}, or {}.
-- A claimed batch is due again when its lease ends, so one whose validator died, or whose reply was lost, is only late.
-- `claim` is a fresh random name that fences hold_batch and end_batch.
local id = redis.call('ZRANGEBYSCORE', key('batches:due'), '-inf', NOW, 'LIMIT', 0, 1)[1]
if not id then return {} end
redis.call('ZADD', key('batches:due'), NOW + tonumber(ARGV[1]), id)
redis.call('HSET', key('batch', id), 'claim', ARGV[2])
return {id, redis.call('HINCRBY', key('batch', id), 'tries', 1)}
