-- The head of every script: key names, the clock, and the two helpers that end every move, `settle` and `refresh_ready`.
-- Key schema: common/keys.py. Times are milliseconds of this server's clock.

local PRIORITY_STEP = 600000 -- ten minutes a step: priority orders a tenant's jobs, and ages

local function key(...)
  return 'pm:' .. table.concat({...}, ':')
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local NOW = clock()
local HOOKED = false -- an event was written: whoever called should wake the webhook worker
local TERMINAL = {completed = true, cancelled = true, expired = true}

-- The job's fields by name, numbers as numbers; nil when there is no such job.
local FIELDS = {'tenant', 'model', 'status', 'total', 'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired',
  'cursor', 'cost', 'n_max', 'priority', 'created_at', 'cancel_requested', 'deadline_passed', 'hooks', 'retention'}
local TEXT = {tenant = true, model = true, status = true, hooks = true}

local function load_job(id)
  local values = redis.call('HMGET', key('job', id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = {id = id}
  for i, name in ipairs(FIELDS) do
    if TEXT[name] then job[name] = values[i] or '' else job[name] = tonumber(values[i]) or 0 end
  end
  return job
end

local COUNTS = {'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired', 'cursor'}

local function save_counts(job)
  local fields = {}
  for _, name in ipairs(COUNTS) do
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%d', job[name])
  end
  redis.call('HSET', key('job', job.id), unpack(fields))
end

local function set_states(id, first, count, byte)
  redis.call('SETRANGE', key('job', id, 'st'), first, string.rep(byte, count))
end

-- Write a webhook event into the outbox, if the job asked for this type. Its id is made of job and type: writing it twice is one event.
local function emit(job, kind)
  if not string.find(',' .. job.hooks .. ',', ',' .. kind .. ',', 1, true) then return end
  local event = 'evt_' .. job.id .. '_' .. string.gsub(kind, '%.', '_')
  if redis.call('HSETNX', key('hook', event), 'job', job.id) == 0 then return end
  local counts = {total = job.total}
  for _, name in ipairs({'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired'}) do counts[name] = job[name] end
  redis.call('HSET', key('hook', event), 'type', kind, 'created_at', string.format('%d', NOW), 'status', 'pending', 'tries', '[]',
    'data', cjson.encode({id = job.id, status = job.status, model = job.model, counts = counts}))
  redis.call('RPUSH', key('job', job.id, 'hooks'), event)
  redis.call('ZADD', key('hooks:due'), NOW, event)
  HOOKED = true
end

local function tell(id)
  redis.call('PUBLISH', key('changes'), id)
end

-- Listed if and only if something of the job can be claimed; its tenant likewise. A returning tenant starts at the clock.
local function refresh_ready(job)
  local ready, line = key('ready', job.model), key('ready', job.model, job.tenant)
  local claimable = job.pending > 0 and job.cancel_requested == 0 and job.deadline_passed == 0
  if claimable then
    redis.call('ZADD', line, job.created_at - job.priority * PRIORITY_STEP, job.id)
    if not redis.call('ZSCORE', ready, job.tenant) then
      local own = tonumber(redis.call('HGET', key('vtime', job.model), job.tenant)) or 0
      local now = tonumber(redis.call('GET', key('vclock', job.model))) or 0
      redis.call('ZADD', ready, math.max(own, now), job.tenant)
    end
  else
    redis.call('ZREM', line, job.id)
    if redis.call('EXISTS', line) == 0 then redis.call('ZREM', ready, job.tenant) end
  end
end

-- Add tokens to a tenant's virtual time, where it is kept and where it is ranked.
local function charge(job, tokens)
  local own = redis.call('HGET', key('vtime', job.model), job.tenant) or 0
  local ranked = redis.call('ZSCORE', key('ready', job.model), job.tenant)
  local time = math.max(tonumber(ranked or own) + tokens, 0)
  redis.call('HSET', key('vtime', job.model), job.tenant, time)
  if ranked then redis.call('ZADD', key('ready', job.model), 'XX', time, job.tenant) end
end

-- A job with nothing left becomes terminal, once; then its purge is due.
local function settle(job)
  if TERMINAL[job.status] or job.pending + job.running > 0 then return end
  if job.cancel_requested == 1 and job.cancelled > 0 then job.status = 'cancelled'
  elseif job.expired > 0 then job.status = 'expired'
  else job.status = 'completed' end
  redis.call('HSET', key('job', job.id), 'status', job.status, 'finished_at', string.format('%d', NOW))
  redis.call('ZREM', key('due'), 'expire:' .. job.id)
  redis.call('ZADD', key('due'), NOW + job.retention, 'purge:' .. job.id)
  redis.call('UNLINK', key('job', job.id, 'retry'), key('job', job.id, 'attempts'))
  emit(job, 'job.finished')
end

-- End of every move: store the counts, settle, list or unlist, tell who waits.
local function finish(job)
  save_counts(job)
  settle(job)
  refresh_ready(job)
  tell(job.id)
end

-- All pending items reach a terminal state without having run; they need no result record.
local function end_pending(job, name)
  local byte = string.sub(name, 1, 1)
  if job.cursor < job.total then set_states(job.id, job.cursor, job.total - job.cursor, byte) end
  for _, index in ipairs(redis.call('ZRANGE', key('job', job.id, 'retry'), 0, -1)) do set_states(job.id, index, 1, byte) end
  redis.call('DEL', key('job', job.id, 'retry'))
  job[name] = job[name] + job.pending
  job.pending, job.cursor = 0, job.total
end

-- Items an incarnation held go back to pending, or fail once max_attempts workers were lost with them.
-- `charged` is false for a draining worker: its attempt does not count.
local function hand_back(incarnation, charged, max_attempts)
  local held, touched = redis.call('HGETALL', key('held', incarnation)), {}
  for i = 1, #held, 2 do
    local id, index = string.match(held[i], '^(%S+) (%d+)$')
    local attempt = tonumber(held[i + 1])
    touched[id] = touched[id] or load_job(id)
    local job = touched[id]
    if job then
      job.running = job.running - 1
      if charged and attempt >= max_attempts then
        job.failed = job.failed + 1
        set_states(id, index, 1, 'f')
        redis.call('HSET', key('job', id, 'out'), index, cjson.encode({attempts = attempt, error = {code = 'worker_lost',
          message = 'the worker died or froze ' .. attempt .. ' times while it ran this item'}}))
        redis.call('APPEND', key('job', id, 'order'), struct.pack('>I4', index))
      else
        job.pending = job.pending + 1
        set_states(id, index, 1, 'p')
        redis.call('ZADD', key('job', id, 'retry'), index, index)
        if charged then redis.call('HSET', key('job', id, 'attempts'), index, attempt) end
      end
    end
  end
  redis.call('UNLINK', key('held', incarnation), key('replay', incarnation), key('worker', incarnation))
  redis.call('ZREM', key('workers'), incarnation)
  for _, job in pairs(touched) do
    if job.cancel_requested == 1 then end_pending(job, 'cancelled')
    elseif job.deadline_passed == 1 then end_pending(job, 'expired') end
    finish(job)
  end
  return #held / 2
end

-- How many rings would do something: workers with room, no more than there are items, less those already under way.
local function rings(model)
  local ready, want = key('ready', model), 0
  for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), NOW, '+inf')) do
    local worker = redis.call('HMGET', key('worker', incarnation), 'model', 'room')
    if worker[1] == model and (tonumber(worker[2]) or 0) > 0 then want = want + 1 end
  end
  local claimable = 0
  for _, tenant in ipairs(redis.call('ZRANGE', ready, 0, -1)) do
    if claimable >= want then break end
    for _, id in ipairs(redis.call('ZRANGE', ready .. ':' .. tenant, 0, want)) do
      claimable = claimable + (tonumber(redis.call('HGET', key('job', id), 'pending')) or 0)
    end
  end
  return math.max(0, math.min(want, claimable) - redis.call('LLEN', 'generate.' .. model))
end

-- Remove a job and everything keyed by it.
local function purge(job)
  job.pending = 0
  refresh_ready(job)
  for _, event in ipairs(redis.call('LRANGE', key('job', job.id, 'hooks'), 0, -1)) do
    redis.call('UNLINK', key('hook', event))
    redis.call('ZREM', key('hooks:due'), event)
  end
  for _, part in ipairs({'in', 'starts', 'st', 'retry', 'attempts', 'out', 'order', 'hooks'}) do
    redis.call('UNLINK', key('job', job.id, part))
  end
  redis.call('UNLINK', key('job', job.id))
  redis.call('ZREM', key('due'), 'expire:' .. job.id, 'purge:' .. job.id)
  redis.call('ZREM', key('tenant', job.tenant, 'jobs'), job.id)
end
