-- Makes a login link or an invitation, which works once.
--[[ arguments
tenant           whom it logs in
link             its digest
life             number: ms that it works
invites          number: 1 for an invitation, which is listed until it is used
name             for whom the invitation is
most             number: invitations that may be open at once; not asked for login links
]]
-- Answers 1, or 0 where as many invitations are open as may be. A call that is sent again finds its link there.
local links, names = key('tenant', tenant, 'links'), key('tenant', tenant, 'invites')
if redis.call('ZSCORE', links, link) then return 1 end
local over = redis.call('ZRANGEBYSCORE', links, '-inf', NOW)
if #over > 0 then
  call_with(over, 'ZREM', links)
  call_with(over, 'HDEL', names)
end
if invites == 1 then
  if redis.call('HLEN', names) >= most then return 0 end
  redis.call('HSET', names, link, name)
end
redis.call('ZADD', links, NOW + life, link)
-- The key lives as long as the link of it that ends last.
local ends = math.max(life, redis.call('PTTL', links))
redis.call('PEXPIRE', links, ends)
redis.call('PEXPIRE', names, ends)
redis.call('SET', key('login', link), tenant, 'PX', life)
return 1
