-- Makes a link for a person who is to rate.
--[[ arguments
id               the study
tenant           whose it must be
rater            the id of the person
name             what the tenant calls them
digest           of the link's secret
first            number: 1 where the first pair is shown with its sides changed
most             number: links that a study may ever have
]]
-- Answers 1; 0 where the study has as many as it may; -1 where there is no such study. A call that is sent again finds its rater.
if redis.call('HGET', key('study', id), 'tenant') ~= tenant then return -1 end
local raters = key('study', id, 'raters')
if redis.call('HEXISTS', raters, rater) == 1 then return 1 end
if redis.call('HLEN', raters) >= most then return 0 end
redis.call('HSET', raters, rater, cjson.encode({name = name, digest = digest, first = first, created_at = NOW}))
redis.call('SET', key('rater', digest), id .. ' ' .. rater)
return 1
