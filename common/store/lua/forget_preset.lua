-- Deletes a preset, or one version of it.
--[[ arguments
tenant           its tenant
name             what the tenant calls it
version          number: 0 for all
most_used        number: names whose last numbers are remembered one by one
]]
-- Answers how many versions there were. The last number of a preset that is gone is remembered, so that it is not given again.
local heads, contents, used = key('presets', tenant), key('presets', tenant, 'contents'), key('presets', tenant, 'used')
local found = redis.call('HGET', heads, name)
if not found then return 0 end
local kept, gone = {}, {}
local readable, head = pcall(cjson.decode, found)
if not readable or type(head) ~= 'table' or not head.versions then -- a damaged record: what there is of it
  head = {last = 0, versions = {}}
  for _, field in ipairs(redis.call('HKEYS', contents)) do
    local number = string.sub(field, 1, #name + 1) == name .. '@' and tonumber(string.sub(field, #name + 2))
    if number then
      table.insert(head.versions, {version = number})
      head.last = math.max(head.last, number)
    end
  end
end
for _, each in ipairs(head.versions) do table.insert((version == 0 or version == each.version) and gone or kept, each) end
for _, each in ipairs(gone) do
  local field = name .. '@' .. each.version
  count_stored(tenant, 'presets', -redis.call('HSTRLEN', contents, field), 0)
  redis.call('HDEL', contents, field)
end
if #kept > 0 then
  head.versions = kept
  redis.call('HSET', heads, name, cjson.encode(head))
  return #gone
end
redis.call('HDEL', heads, name)
-- So many are forgotten together: every new preset then begins behind the highest number of theirs.
if redis.call('HLEN', used) >= most_used then
  local highest = 0
  for _, number in ipairs(redis.call('HVALS', used)) do highest = math.max(highest, tonumber(number)) end
  redis.call('DEL', used)
  redis.call('HSET', used, '', highest)
end
redis.call('HSET', used, name, head.last)
return math.max(1, #gone)
