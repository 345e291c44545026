-- Gives a rater the next task, for a while: of those that they have not rated one with the fewest ratings.
--[[ arguments
id               the study
rater            who asks
life             number: ms that the task is kept for them
]]
-- Answers {outcome, task, four bytes of it, swapped, done, total}: `given` (the same as before where they have one), `done` (there is none
-- for them; task and what follows it are empty), or {`gone`} where the link does not work any more. `total` is how many they may come
-- to rate, themselves; it falls as others rate.
local PAGE = 200 -- tasks looked at together
local about = rater_of(id, rater)
if not about then return {'gone'} end
local study = redis.call('HMGET', key('study', id), 'tasks', 'wanted', 'ratings')
local tasks, wanted, ratings = tonumber(study[1]), tonumber(study[2]), tonumber(study[3])
local done = redis.call('LLEN', key('study', id, 'rated', rater))
local total = math.min(tasks, done + math.max(0, tasks * wanted - ratings))

local function given(task)
  local place = tonumber(task) * 4
  return {'given', task, redis.call('GETRANGE', key('study', id, 'tasks'), place, place + 3), is_swapped(about, done), done, total}
end

if redis.call('ZSCORE', key('study', id, 'leases'), rater) then
  local task = redis.call('HGET', key('study', id, 'given'), rater)
  take_task(id, rater, task, life)
  return given(task)
end
end_leases(id)
local open, votes, at = key('study', id, 'open'), key('study', id, 'votes'), 0
while true do
  local page = redis.call('ZRANGEBYSCORE', open, '-inf', '(' .. wanted, 'LIMIT', at, PAGE)
  if #page == 0 then return {'done', '', '', 0, done, done} end
  local fields = {}
  for i, task in ipairs(page) do fields[i] = task .. ':' .. rater end
  for i, vote in ipairs(redis.call('HMGET', votes, unpack(fields))) do
    if not vote then
      take_task(id, rater, page[i], life)
      redis.call('ZINCRBY', open, 1, page[i])
      return given(page[i])
    end
  end
  at = at + PAGE
end
