-- Gives a worker as many GPUs as it needs, all of them or none; called again it renews them.
--[[ arguments
owner            the worker process
wanted           number: GPUs that it needs
lease            number: ms
rest             the GPUs to choose from, by UUID, those that are preferred first
]]
-- Answers the GPUs that are the owner's now, `wanted` or none, and a list of GPU, owner, … of those that others hold. A call that is
-- sent again gets what the first one got: its own GPUs come before free ones.
local own, free, others = {}, {}, {}
for i = REST, #ARGV do
  local holder = redis.call('GET', key('gpu', ARGV[i]))
  if holder == owner then table.insert(own, ARGV[i])
  elseif holder then table.insert(others, ARGV[i]); table.insert(others, holder)
  else table.insert(free, ARGV[i]) end
end
if #own + #free < wanted then return {{}, others} end
local given = {}
for _, uuids in ipairs({own, free}) do
  for _, uuid in ipairs(uuids) do
    if #given < wanted then
      redis.call('SET', key('gpu', uuid), owner, 'PX', lease)
      table.insert(given, uuid)
    end
  end
end
return {given, others}
