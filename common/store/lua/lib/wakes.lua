-- Which workers hear of work, and how many rings are missing.

-- How many items of a model can be claimed, counted up to `most`. Many jobs are not looked at one by one: they count as `most`.
local MOST_JOBS = 64
local function count_waiting(model, most)
  local found, jobs, last = redis.call('ZCARD', key('suspects', model)), 0, math.min(most, MOST_JOBS + 1) - 1
  for _, lane in ipairs(LANES) do
    for _, tenant in ipairs(redis.call('ZRANGE', lane_key(lane, model), 0, last)) do
      for _, id in ipairs(redis.call('ZRANGE', lane_key(lane, model, tenant), 0, last)) do
        found, jobs = found + (tonumber(redis.call('HGET', key('job', id), 'pending')) or 0), jobs + 1
        if found >= most or jobs > MOST_JOBS then return most end
      end
    end
  end
  return found
end

-- Workers of a model that have room are listed by load, the share of their slots that is taken. A wake counts as some load more
-- until the worker's next exchange, so that the wakes of a burst go to different workers.
local WOKEN = 0.01

local function list_worker(model, incarnation, room, slots, always)
  if room > 0 or always then redis.call('ZADD', key('room', model), 1 - math.max(room, 0) / slots, incarnation)
  else redis.call('ZREM', key('room', model), incarnation) end
end

-- Wake a worker for each of so many items, the least loaded first, idle ones before all others. Answers how many rings are wanted:
-- one for each worker that does not listen, less those already under way. A `doubted` wake is one that was lost before: idle workers
-- are rung as well.
local function wake(model, items, doubted)
  local rings = 0
  local chosen = items > 0 and redis.call('ZRANGE', key('room', model), 0, items - 1) or {}
  for _, incarnation in ipairs(chosen) do
    redis.call('ZINCRBY', key('room', model), WOKEN, incarnation)
    local heard = redis.call('PUBLISH', key('work', incarnation), model) > 0
    if heard then redis.call('ZADD', key('woken', model), NOW, incarnation) end
    if not heard or doubted and redis.call('HLEN', key('held', incarnation)) == 0 then rings = rings + 1 end
  end
  return rings > 0 and math.max(0, rings - redis.call('LLEN', 'generate.' .. model)) or 0
end
