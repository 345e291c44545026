-- Keeps a version of a preset.
--[[ arguments
tenant           its tenant
name             what the tenant calls it
digest           of its content
most             number: presets that the tenant may have
most_versions    number: versions that each may have
most_stored      number: bytes that the tenant may keep of all, 0 for no limit
body             its content, compressed
rest             task, title
]]
-- Answers {outcome, version}: `new`; `same` (its newest version is this very content, also where the call is sent again because its
-- reply was lost); `presets_full`, `versions_full`, `stored_full` (a limit would be passed).
local heads, contents, used = key('presets', tenant), key('presets', tenant, 'contents'), key('presets', tenant, 'used')
local found = redis.call('HGET', heads, name)
local head = found and cjson.decode(found)
local newest = head and head.versions[#head.versions]
if newest and newest.digest == digest then return {'same', newest.version} end
if not head and redis.call('HLEN', heads) >= most then return {'presets_full', 0} end
if head and #head.versions >= most_versions then return {'versions_full', 0} end
if over_stored(tenant, #body, most_stored) then return {'stored_full', 0} end

-- A number is never given to other content, also where the preset was deleted meanwhile.
local last = head and head.last or tonumber(redis.call('HGET', used, name) or redis.call('HGET', used, '')) or 0
head = head or {versions = {}}
head.last = last + 1
table.insert(head.versions, {version = head.last, created_at = NOW, digest = digest, task = ARGV[REST], title = ARGV[REST + 1]})
redis.call('HSET', heads, name, cjson.encode(head))
redis.call('HSET', contents, name .. '@' .. head.last, body)
redis.call('HDEL', used, name)
count_stored(tenant, 'presets', #body, 0)
return {'new', head.last}
