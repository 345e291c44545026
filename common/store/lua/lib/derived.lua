-- Derived jobs: while a job waits for the jobs of whose rows it is to be made, it has no items and its record says `waiting`; theirs
-- say `awaited`, and `job:{source}:waiters` has who waits.

local LOOK_AGAIN = 30000 -- ms until a job that waits is looked at without a word from what it waits for

-- When a waiting job is to be looked at: each tenant has a line of them, and the tenants have turns.
local function queue_derived(tenant, id, at)
  redis.call('ZADD', key('derived:line', tenant), at, id)
  to_the_end(key('derived:turns'), tenant, 'NX')
end

local function unqueue_derived(tenant, id)
  local line = key('derived:line', tenant)
  redis.call('ZREM', line, id)
  if redis.call('EXISTS', line) == 1 then return end
  redis.call('ZREM', key('derived:turns'), tenant)
  redis.call('HDEL', key('derived:busy'), tenant)
end

local function sources_of(id)
  local from = redis.call('HGET', key('job', id), 'input_from')
  return from and cjson.decode(from).jobs or {}
end

-- Whether none of them goes on; one that was removed does not.
local function all_over(sources)
  for _, source in ipairs(sources) do
    local status = redis.call('HGET', key('job', source), 'status')
    if status and not TERMINAL[status] then return false end
  end
  return true
end

-- A source ended: who waits for nothing else can be made now.
local function call_waiters(source)
  for _, id in ipairs(redis.call('SMEMBERS', key('job', source, 'waiters'))) do
    local tenant = redis.call('HGET', key('job', id), 'tenant')
    if tenant and all_over(sources_of(id)) then queue_derived(tenant, id, NOW) end
  end
end

-- A job waits no more: it has its items, or it ended.
local function stop_waiting(job)
  job.waiting = 0
  redis.call('HDEL', key('job', job.id), 'waiting', 'claim', 'tries')
  for _, source in ipairs(sources_of(job.id)) do
    local waiters = key('job', source, 'waiters')
    redis.call('SREM', waiters, job.id)
    if redis.call('EXISTS', waiters) == 0 then redis.call('HDEL', key('job', source), 'awaited') end
  end
  unqueue_derived(job.tenant, job.id)
end
