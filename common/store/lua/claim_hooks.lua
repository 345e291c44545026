-- Takes due webhook events for one deliverer.
--[[ arguments
limit            number: events at most
lease            number: ms that the deliverer has to record the try
claim            a fresh random name, which fences record_hook
most             number: deliveries of a tenant that may be under way at once
]]
-- Tenants take turns: the one that was served longest ago comes first, and one with `most` under way is passed over.
-- Answers {now, event, tenant, owner, type, created_at, data, tries, ...}. A claimed event is due again when its lease ends, so that
-- one whose deliverer died, or whose reply was lost, is only late.
local turns, MOST_MOVED = key('hooks:turns'), 5000

-- Nil where it is gone, or damaged: that must not keep the others.
local function field(name, field_name)
  local value = redis.pcall('HGET', name, field_name)
  return type(value) == 'string' and value or nil
end

local function tenant_of(event)
  local owner = field(key('hook', event), 'owner')
  return owner and (field(key('job', owner), 'tenant') or field(key('batch', owner), 'tenant'))
end

-- What has come due joins its tenant's line.
local due = redis.call('ZRANGEBYSCORE', key('hooks:due'), '-inf', NOW, 'WITHSCORES', 'LIMIT', 0, MOST_MOVED)
for i = 1, #due, 2 do
  local tenant = tenant_of(due[i])
  redis.call('ZREM', key('hooks:due'), due[i])
  if tenant then
    redis.call('ZADD', key('hooks:line', tenant), due[i + 1], due[i])
    to_the_end(turns, tenant, 'NX')
  end
end

-- The first event of a tenant's line; nil if it is empty, or held only what an earlier version has purged.
local function first(tenant, line)
  local event
  repeat event = redis.call('ZPOPMIN', line)[1] until not event or redis.call('EXISTS', key('hook', event)) == 1
  if redis.call('EXISTS', line) == 1 then to_the_end(turns, tenant) else redis.call('ZREM', turns, tenant) end
  return event
end

-- The next event and its tenant, or nil.
local function take()
  for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
    local busy = key('hooks:busy', tenant)
    redis.call('ZREMRANGEBYSCORE', busy, '-inf', NOW)
    local event = redis.call('ZCARD', busy) < most and first(tenant, key('hooks:line', tenant))
    if event then
      redis.call('ZADD', busy, NOW + lease, event)
      redis.call('PEXPIRE', busy, lease)
      return event, tenant
    end
  end
end

local answer = {NOW}
for _ = 1, limit do
  local event, tenant = take()
  if not event then break end
  redis.call('ZADD', key('hooks:due'), NOW + lease, event)
  redis.call('HSET', key('hook', event), 'claim', claim)
  answer[#answer + 1], answer[#answer + 2] = event, tenant
  for _, value in ipairs(redis.call('HMGET', key('hook', event), 'owner', 'type', 'created_at', 'data', 'tries')) do
    answer[#answer + 1] = value
  end
end
return answer
