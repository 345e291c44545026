-- Takes the comparison that is to be computed next, tenants in turn.
--[[ arguments
ms               number: how long the claim lasts
claim            a fresh random name, which fences keep_comparison
most_tries       number: claimed more often than this it fails
]]
-- Answers {id, tenant, asked}, or {}. One whose evaluator died is due again when its claim ends.
local turns = key('comparisons:turns')

local function claimed(tenant, id)
  local record = key('comparison', id)
  local about = redis.call('HMGET', record, 'asked', 'tries')
  if not about[1] then
    unqueue_comparison(tenant, id)
    return nil
  end
  if tonumber(about[2]) >= most_tries then
    end_comparison(id, 'failed')
    return nil
  end
  redis.call('HINCRBY', record, 'tries', 1)
  redis.call('HSET', record, 'claim', claim)
  redis.call('ZADD', key('comparisons:due', tenant), NOW + ms, id)
  to_the_end(turns, tenant)
  return {id, tenant, about[1]}
end

for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
  local line = key('comparisons:due', tenant)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', NOW)) do
    local found = claimed(tenant, id)
    if found then return found end
  end
  if redis.call('EXISTS', line) == 0 then redis.call('ZREM', turns, tenant) end
end
return {}
