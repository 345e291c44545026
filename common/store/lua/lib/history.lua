-- What workers did in the last hour, a sample a minute: `history`, of which the last is the newest.

local SAMPLES, MOST_SAMPLED = 61, 100 -- an hour's minutes with both ends; models in a sample

-- Once a minute: how many items wait, and of each model that has a live worker how many tokens were ever generated.
local function sample_history()
  local minute = math.floor(NOW / 60000)
  if redis.call('HGET', key('tick'), 'minute') == string.format('%d', minute) then return end
  redis.call('HSET', key('tick'), 'minute', string.format('%d', minute))
  local tokens, models = {}, 0
  for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), NOW, '+inf', 'LIMIT', 0, 1000)) do
    local model = redis.call('HGET', key('worker', incarnation), 'model')
    if model and not tokens[model] and models < MOST_SAMPLED then
      tokens[model] = redis.call('HGET', key('metrics'), 'generated_tokens\31' .. model) or '0'
      models = models + 1
    end
  end
  if models == 0 then return end
  local waiting = redis.call('HGET', key('queued'), 'items') or '0'
  redis.call('RPUSH', key('history'), cjson.encode({minute = minute, waiting = tonumber(waiting), tokens = tokens}))
  redis.call('LTRIM', key('history'), -SAMPLES, -1)
  redis.call('EXPIRE', key('history'), 7200)
end
