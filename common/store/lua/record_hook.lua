-- Records what came of a claimed event.
--[[ arguments
event            the event
tenant           its tenant
claim            as claim_hooks was given it
status           `outbox.HookState`
tries            JSON of all its tries: nobody but the claim's holder adds to them
due              when to try again, in ms, or '' once the status is final
]]
-- Answers 1, or 0 where the claim is no longer this deliverer's: the lease ran out, or the event went with its job.
local hookkey = key('hook', event)
local holder = redis.call('HGET', hookkey, 'claim')
if not holder or holder == claim then redis.call('ZREM', key('hooks:busy', tenant), event) end
if holder ~= claim then return 0 end
redis.call('HSET', hookkey, 'status', status, 'tries', tries)
redis.call('HDEL', hookkey, 'claim')
if due == '' then redis.call('ZREM', key('hooks:due'), event) else redis.call('ZADD', key('hooks:due'), due, event) end
tell(redis.call('HGET', hookkey, 'owner'))
return 1
