-- Keeps what a rater said of a task that was given to them. Said again, it takes the place of what was said before.
--[[ arguments
id               the study
rater            who rates
task             five digits
answers          JSON: criterion -> answer
]]
-- Answers `kept`; `gone` (the link does not work any more); `not_given` (the task is not theirs); `taken` (they had it for too long, and
-- it has as many ratings as it is to get).
local about = rater_of(id, rater)
if not about then return 'gone' end
local votes, field, rated = key('study', id, 'votes'), task .. ':' .. rater, key('study', id, 'rated', rater)
local before = redis.call('HGET', votes, field)
local given = redis.call('HGET', key('study', id, 'given'), rater) == task
if not before and not given then return 'not_given' end

local swapped = before and cjson.decode(before).swapped
if not before then
  swapped = is_swapped(about, redis.call('LLEN', rated))
  end_leases(id)
  if redis.call('ZREM', key('study', id, 'leases'), rater) == 0 then
    local open = key('study', id, 'open')
    if tonumber(redis.call('ZSCORE', open, task)) >= tonumber(redis.call('HGET', key('study', id), 'wanted')) then return 'taken' end
    redis.call('ZINCRBY', open, 1, task)
  end
  redis.call('HDEL', key('study', id, 'given'), rater)
  redis.call('RPUSH', rated, task)
end
redis.call('HSET', votes, field, '{"at":' .. string.format('%d', NOW) .. ',"swapped":' .. swapped .. ',"answers":' .. answers .. '}')
count_rating(id, before and 0 or 1)
return 'kept'
