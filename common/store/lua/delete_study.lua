-- Removes a study with its ratings and its raters' links, now.
--[[ arguments
id               the study
tenant           whose it must be
]]
-- Answers 1, or 0 where there is no such study.
local about = redis.call('HMGET', key('study', id), 'tenant', 'bytes')
if about[1] ~= tenant then return 0 end
local raters = redis.call('HGETALL', key('study', id, 'raters'))
for i = 1, #raters, 2 do
  redis.call('UNLINK', key('rater', cjson.decode(raters[i + 1]).digest), key('study', id, 'rated', raters[i]))
end
for _, part in ipairs({'rows', 'tasks', 'open', 'leases', 'given', 'votes', 'raters', 'results'}) do
  redis.call('UNLINK', key('study', id, part))
end
redis.call('UNLINK', key('study', id))
count_stored(tenant, 'studies', -tonumber(about[2]), 0)
leave_list('studies', tenant, id)
return 1
