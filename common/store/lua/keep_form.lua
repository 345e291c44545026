-- Keeps a draft of the submit form.
--[[ arguments
tenant           its tenant
draft            its id
age              number: s that it is kept
most             number: drafts that the tenant may have
seen             the version that it was changed from, or '' to compare nothing
writer           who changes it, or ''
body             "version writer\n", then what was typed, compressed
]]
-- Answers its version, which stays where nothing was changed; '' where somebody else has changed it since it was seen, and it stays as
-- it is. Of more drafts than may be, those that were changed longest ago are removed.
local drafts, record = key('tenant', tenant, 'forms'), key('form', tenant, draft)
local stored = redis.call('GET', record) or ''
local version, whose, first = string.match(string.sub(stored, 1, 64), '^(%x+) (%x*)\n()')
local same = version and string.sub(stored, first) == string.sub(body, string.find(body, '\n', 1, true) + 1)
if seen ~= '' and version and not same and version ~= seen and (writer == '' or whose ~= writer) then return '' end
if same then body = stored end
redis.call('ZREMRANGEBYSCORE', drafts, '-inf', NOW - age * 1000)
redis.call('ZADD', drafts, NOW, draft)
redis.call('EXPIRE', drafts, age)
redis.call('SET', record, body, 'EX', age)
for _, old in ipairs(redis.call('ZREVRANGE', drafts, most, -1)) do
  redis.call('ZREM', drafts, old)
  redis.call('UNLINK', key('form', tenant, old))
end
return string.match(body, '^%x+')
