-- claim_hooks(limit, lease, claim): take up to `limit` due events for one deliverer, who has `lease` ms to record the try.
-- Answers {now, event, owner, type, created_at, data, tries, ...}. A claimed event is due again when its lease ends, so one
-- whose deliverer died, or whose reply was lost, is only late. `claim` is a fresh random name that fences record_hook.
local limit, lease, claim = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local answer = {NOW}
for _, event in ipairs(redis.call('ZRANGEBYSCORE', key('hooks:due'), '-inf', NOW, 'LIMIT', 0, limit)) do
  redis.call('ZADD', key('hooks:due'), NOW + lease, event)
  redis.call('HSET', key('hook', event), 'claim', claim)
  answer[#answer + 1] = event
  for _, value in ipairs(redis.call('HMGET', key('hook', event), 'owner', 'type', 'created_at', 'data', 'tries')) do
    answer[#answer + 1] = value
  end
end
return answer
