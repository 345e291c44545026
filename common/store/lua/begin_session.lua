-- begin_session(link, session, lifetime ms, most): use a login link up and let the session of this digest in, until its time is over.
-- Of more than `most` sessions of a tenant those that began first end. Answers the tenant, or nothing if there is no such link.
-- When it is sent again, `begun` tells what it did.
local link, session, life = key('login', ARGV[1]), ARGV[2], tonumber(ARGV[3])
local done = redis.call('GET', key('begun', session))
if done then return done end
local tenant = redis.call('GETDEL', link)
if not tenant then return nil end
local sessions = key('tenant', tenant, 'sessions')
redis.call('ZREM', key('tenant', tenant, 'links'), ARGV[1])
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', NOW)
redis.call('ZADD', sessions, NOW + life, session)
redis.call('ZREMRANGEBYRANK', sessions, 0, -(tonumber(ARGV[4]) + 1))
redis.call('PEXPIRE', sessions, life)
redis.call('SET', key('begun', session), tenant, 'PX', 60000)
return tenant
