-- Uses a login link up and begins a browser session.
--[[ arguments
link             the digest of the link
session          the digest of the session's secret
life             number: ms that the session lasts
most             number: sessions that a tenant may have; those that began first end
]]
-- Answers the tenant, or nothing where there is no such link. A call that is sent again finds in `begun` what it did.
local done = redis.call('GET', key('begun', session))
if done then return done end
local tenant = redis.call('GETDEL', key('login', link))
if not tenant then return nil end
local sessions = key('tenant', tenant, 'sessions')
redis.call('ZREM', key('tenant', tenant, 'links'), link)
redis.call('HDEL', key('tenant', tenant, 'invites'), link)
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', NOW)
redis.call('ZADD', sessions, NOW + life, session)
redis.call('ZREMRANGEBYRANK', sessions, 0, -(most + 1))
redis.call('PEXPIRE', sessions, life)
redis.call('SET', key('begun', session), tenant, 'PX', 60000)
return tenant
