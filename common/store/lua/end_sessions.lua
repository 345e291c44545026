-- end_sessions(tenant, session): end the session of this digest; without one, all of the tenant's, and the links nobody has used.
-- Answers how many ended.
if ARGV[2] == '' then return end_sessions(ARGV[1]) end
redis.call('DEL', key('begun', ARGV[2]))
return redis.call('ZREM', key('tenant', ARGV[1], 'sessions'), ARGV[2])
