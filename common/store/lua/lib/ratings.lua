-- Which tasks of a study its raters have in front of them. `open` counts for each task its ratings and those who have it now.

-- Whether this person may rate: their record, or nil. `first` is 1 where their first pair is shown with its sides changed.
local function rater_of(id, rater)
  local found = redis.call('HGET', key('study', id, 'raters'), rater)
  local about = found and cjson.decode(found)
  return about and not about.revoked_at and about or nil
end

-- Whether the sides are changed at this place of the rater's own order: they change with every task.
local function is_swapped(about, place) return (about.first + place) % 2 end

-- A rater has this task now, and is counted for it.
local function take_task(id, rater, task, life)
  redis.call('ZADD', key('study', id, 'leases'), NOW + life, rater)
  redis.call('HSET', key('study', id, 'given'), rater, task)
end

-- A rater has no task any more. Which one it was stays in `given`, for a rating that comes too late.
local function leave_task(id, rater)
  if redis.call('ZREM', key('study', id, 'leases'), rater) == 0 then return end
  redis.call('ZINCRBY', key('study', id, 'open'), -1, redis.call('HGET', key('study', id, 'given'), rater))
end

local function end_leases(id)
  for _, rater in ipairs(redis.call('ZRANGEBYSCORE', key('study', id, 'leases'), '-inf', NOW)) do leave_task(id, rater) end
end

-- A rating was given or taken back.
local function count_rating(id, more)
  redis.call('HINCRBY', key('study', id), 'ratings', more)
  redis.call('HINCRBY', key('study', id), 'changes', 1)
end
