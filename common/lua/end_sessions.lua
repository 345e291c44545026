-- end_sessions(tenant, session): end the session of this digest; without one, all of the tenant's, and the links nobody has used.
if ARGV[2] ~= '' then
  redis.call('ZREM', key('tenant', ARGV[1], 'sessions'), ARGV[2])
  redis.call('DEL', key('begun', ARGV[2]))
else
  end_sessions(ARGV[1])
end
return 1
