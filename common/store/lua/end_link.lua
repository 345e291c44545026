-- Takes back an invitation.
--[[ arguments
tenant           whose it is
link             its digest
]]
-- Answers 1, or 0 where there is no such invitation.
local found = redis.call('HDEL', key('tenant', tenant, 'invites'), link)
if found == 1 then
  redis.call('ZREM', key('tenant', tenant, 'links'), link)
  redis.call('DEL', key('login', link))
end
return found
