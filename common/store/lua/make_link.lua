-- Makes a login link that works once.
--[[ arguments
tenant           whom it logs in
link             its digest
life             number: ms that it works
]]
-- Answers 1.
local links = key('tenant', tenant, 'links')
redis.call('ZREMRANGEBYSCORE', links, '-inf', NOW)
redis.call('ZADD', links, NOW + life, link)
redis.call('PEXPIRE', links, life)
redis.call('SET', key('login', link), tenant, 'PX', life)
return 1
