-- An evaluation is over.
--[[ arguments
id               the evaluation
claim            as claim_evaluation was given it
status           done or failed
gate             JSON of what its gate says; null without one
rest             field, value, ...: of its record
]]
-- Answers {1, hooked}, or {0, 0} where it is another's by now, or removed, or done while scores are missing: a server that was set back
-- has forgotten them, and whoever claims it next makes them again. Over already, as the same holder ended it, it is {1, 0}.
local ended_by = redis.call('HGET', key('eval', id), 'ended_by')
if ended_by == claim then return {1, 0} end
if not holds(id, claim) then return {0, 0} end
local scored = redis.call('HMGET', key('eval', id), 'done', 'total')
if status == 'done' and scored[1] ~= scored[2] then return {0, 0} end
close_evaluation(id, status, gate, 'ended_by', claim, unpack(ARGV, REST))
return {1, hooked() and 1 or 0}
