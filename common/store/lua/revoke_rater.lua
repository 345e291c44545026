-- Ends a rater's link. What they rated stays.
--[[ arguments
id               the study
tenant           whose it must be
rater            the id of the person
]]
-- Answers 1, also where the link had ended before; 0 where there is no such study or rater.
if redis.call('HGET', key('study', id), 'tenant') ~= tenant then return 0 end
local raters = key('study', id, 'raters')
local found = redis.call('HGET', raters, rater)
if not found then return 0 end
local about = cjson.decode(found)
if about.revoked_at then return 1 end
leave_task(id, rater)
redis.call('HDEL', key('study', id, 'given'), rater)
redis.call('UNLINK', key('rater', about.digest))
about.revoked_at = NOW
redis.call('HSET', raters, rater, cjson.encode(about))
return 1
