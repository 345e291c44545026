-- Takes a batch that waits for its validation.
--[[ arguments
lease            number: ms for which no other process gets it
claim            a fresh random name, which fences hold_batch and end_batch
]]
-- Answers {batch, how often it was claimed}, or {}.
-- Tenants take turns, and have one validation at a time, so that a tenant with many batches does not delay the others. A claimed batch is
-- due again when its lease ends, so that one whose validator died, or whose reply was lost, is only late.
local function busy(tenant, line)
  local id = redis.call('HGET', key('batches:busy'), tenant)
  local till = id and redis.call('ZSCORE', line, id)
  return till and tonumber(till) > NOW and redis.call('HEXISTS', key('batch', id), 'claim') == 1
end

local id, tenant = take_batch('due', lease, busy)
if not id then return {} end
-- A part of an earlier version that ended it took it out of its own list only.
if redis.call('HEXISTS', key('batch', id), 'tries') == 0 then
  unqueue_batch('due', tenant, id)
  return {}
end
redis.call('HSET', key('batch', id), 'claim', claim)
redis.call('HSET', key('batches:busy'), tenant, id)
return {id, redis.call('HINCRBY', key('batch', id), 'tries', 1)}
