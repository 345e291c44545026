-- record_hook(event, tenant, claim, status, tries, due): what came of a claimed event. `tries` is its whole new list, safe to set because
-- nobody but the claim's holder adds to it; `due` is when to try again, or '' once the status is final.
-- Answers 1, or 0 when the claim is no longer this deliverer's: the lease ran out, or the event went with its job.
local event, tenant, claim, status, tries, due = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local hookkey = key('hook', event)
local holder = redis.call('HGET', hookkey, 'claim')
if not holder or holder == claim then redis.call('ZREM', key('hooks:busy', tenant), event) end
if holder ~= claim then return 0 end
redis.call('HSET', hookkey, 'status', status, 'tries', tries)
redis.call('HDEL', hookkey, 'claim')
if due == '' then redis.call('ZREM', key('hooks:due'), event) else redis.call('ZADD', key('hooks:due'), due, event) end
tell(redis.call('HGET', hookkey, 'owner'))
return 1
