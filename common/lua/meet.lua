-- meet(oldest compatible schema, version): a part of this schema uses the store from now on. A newer part's record stays.
if (tonumber(redis.call('HGET', key('version'), 'schema')) or 0) < SCHEMA then
  redis.call('HSET', key('version'), 'schema', SCHEMA, 'compatible', ARGV[1], 'version', ARGV[2])
end
return 1
