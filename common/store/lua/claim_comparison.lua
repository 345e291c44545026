-- Takes the comparison that is to be computed next, tenants in turn.
--[[ arguments
ms               number: how long the claim lasts
claim            a fresh random name, which fences keep_comparison
most_tries       number: claimed more often than this it fails
]]
-- Answers {id, tenant, asked}, or {}. One whose evaluator died is due again when its claim ends.
while true do
  local id, tenant = take_next('comparisons', 'due', ms)
  if not id then return {} end
  local record = key('comparison', id)
  local about = redis.call('HMGET', record, 'asked', 'tries')
  if not about[1] then
    leave_line('comparisons', 'due', tenant, id)
  elseif tonumber(about[2]) >= most_tries then
    end_comparison(id, 'failed')
  else
    redis.call('HINCRBY', record, 'tries', 1)
    redis.call('HSET', record, 'claim', claim)
    return {id, tenant, about[1]}
  end
end
