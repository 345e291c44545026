-- Takes back what a rater said last, and gives them that task again, with the sides as they were.
--[[ arguments
id               the study
rater            who rates
life             number: ms that the task is kept for them
call             a name of this call: sent again, it takes nothing more back
]]
-- Answers `undone`, `none` (they have rated nothing) or `gone` (the link does not work any more).
if not rater_of(id, rater) then return 'gone' end
local given = key('study', id, 'given')
if redis.call('HGET', given, 'undone:' .. rater) == call then return 'undone' end
local task = redis.call('RPOP', key('study', id, 'rated', rater))
if not task then return 'none' end
leave_task(id, rater)
redis.call('HDEL', key('study', id, 'votes'), task .. ':' .. rater)
take_task(id, rater, task, life) -- counted for the task as the rating was
redis.call('HSET', given, 'undone:' .. rater, call)
count_rating(id, -1)
return 'undone'
