-- Takes a job whose sources are over, so that it is made of their rows.
--[[ arguments
lease            number: ms for which no other process gets it
claim            a fresh random name, which fences hold_derived and end_derived
]]
-- Answers {job, how often it was claimed}, or {}.
-- Tenants take turns, and have one such job in hand at a time. A claimed job is due again when its lease ends, so that one whose
-- process died, or whose reply was lost, is only late. What waits is looked at now and then, too: parts up to schema 4 end sources
-- without a word to it.
local MOST_LOOKED_AT = 100 -- of a tenant's, in a call
local turns = key('derived:turns')

local function busy(tenant, line)
  local id = redis.call('HGET', key('derived:busy'), tenant)
  local till = id and redis.call('ZSCORE', line, id)
  return till and tonumber(till) > NOW and redis.call('HEXISTS', key('job', id), 'claim') == 1
end

local function due(tenant, line)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', NOW, 'LIMIT', 0, MOST_LOOKED_AT)) do
    if redis.call('HEXISTS', key('job', id), 'waiting') == 0 then unqueue_derived(tenant, id)
    elseif all_over(sources_of(id)) then return id
    else redis.call('ZADD', line, NOW + LOOK_AGAIN, id) end
  end
end

for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
  local line = key('derived:line', tenant)
  local id = not busy(tenant, line) and due(tenant, line)
  if id then
    redis.call('ZADD', line, NOW + lease, id)
    to_the_end(turns, tenant)
    redis.call('HSET', key('job', id), 'claim', claim)
    redis.call('HSET', key('derived:busy'), tenant, id)
    return {id, redis.call('HINCRBY', key('job', id), 'tries', 1)}
  end
end
return {}
