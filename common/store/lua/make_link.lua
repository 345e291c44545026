-- make_link(tenant, link, lifetime ms): a login link of this digest works once, until its time is over.
local links, life = key('tenant', ARGV[1], 'links'), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', links, '-inf', NOW)
redis.call('ZADD', links, NOW + life, ARGV[2])
redis.call('PEXPIRE', links, life)
redis.call('SET', key('login', ARGV[2]), ARGV[1], 'PX', life)
return 1
