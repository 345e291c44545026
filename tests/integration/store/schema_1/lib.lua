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
  'cursor', 'cost', 'n_max', 'priority', 'created_at', 'cancel_requested', 'deadline_passed', 'paused', 'interactive', 'hooks',
  'retention', 'prompt_tokens', 'completion_tokens', 'token_budget', 'error_rate', 'isolating', 'bytes', 'weight', 'batch'}
local TEXT = {tenant = true, model = true, status = true, hooks = true, isolating = true, batch = true}

local function load_job(id)
  local values = redis.call('HMGET', key('job', id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = {id = id}
  for i, name in ipairs(FIELDS) do
    if TEXT[name] then job[name] = values[i] or '' else job[name] = tonumber(values[i]) or 0 end
  end
  job.queued = job.pending -- what `account` has counted
  return job
end

-- Keep count of what waits, by tenant and in all: what admission goes by.
local function account(job)
  local delta = job.pending - job.queued
  if delta == 0 then return end
  for _, whose in ipairs({key('queued', job.tenant), key('queued')}) do
    redis.call('HINCRBY', whose, 'items', delta)
    redis.call('HINCRBY', whose, 'tokens', delta * job.cost)
    redis.call('HINCRBY', whose, 'bytes', delta * job.weight)
  end
  job.queued = job.pending
end

-- Which limit so much more would pass: `tenant_full`, `full` or nil. `more` is items, tokens and bytes; the limits, 0 for none,
-- begin at ARGV[first]: three for what the tenant may have waiting, three for all.
local function overfull(tenant, more, first)
  for i, whose in ipairs({key('queued', tenant), key('queued')}) do
    local queued = redis.call('HMGET', whose, 'items', 'tokens', 'bytes')
    for j, amount in ipairs(more) do
      local most = tonumber(ARGV[first + (i - 1) * 3 + j - 1])
      if most > 0 and (tonumber(queued[j]) or 0) + amount > most then return i == 1 and 'tenant_full' or 'full' end
    end
  end
end

local COUNTS = {'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired', 'cursor'}

local function save_counts(job)
  local fields = {}
  for _, name in ipairs(COUNTS) do
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%d', job[name])
  end
  redis.call('HSET', key('job', job.id), unpack(fields))
  account(job)
end

local function set_states(id, first, count, byte)
  redis.call('SETRANGE', key('job', id, 'st'), first, string.rep(byte, count))
end

-- Write a webhook event into the outbox; it goes with its owner, a job or a batch, that has it in `list`. Its id is made of owner and type:
-- writing it twice is one event.
local function outbox(list, owner, event_type, data)
  local event = 'evt_' .. owner .. '_' .. string.gsub(event_type, '%.', '_')
  if redis.call('HSETNX', key('hook', event), 'owner', owner) == 0 then return end
  redis.call('HSET', key('hook', event), 'type', event_type, 'created_at', string.format('%d', NOW), 'status', 'pending',
    'tries', '[]', 'data', data)
  redis.call('RPUSH', list, event)
  redis.call('ZADD', key('hooks:due'), NOW, event)
  HOOKED = true
end

-- Tell of a job, if it asked for this type of event. The end of a batch's job is the batch's own event, in OpenAI's words.
local function emit(job, event_type)
  if not string.find(',' .. job.hooks .. ',', ',' .. event_type .. ',', 1, true) then return end
  local hooks = key('job', job.id, 'hooks')
  if job.batch ~= '' then
    return outbox(hooks, job.id, 'batch.' .. job.status, cjson.encode({id = job.batch}))
  end
  local counts = {total = job.total}
  for _, name in ipairs({'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired'}) do counts[name] = job[name] end
  outbox(hooks, job.id, event_type, cjson.encode({id = job.id, status = job.status, model = job.model, counts = counts}))
end

-- `status` spares who waits for the end alone a look at the job.
local function tell(id, status)
  redis.call('PUBLISH', key('changes'), status and id .. ' ' .. status or id)
end

-- What an item said so far is of no use once its result is stored.
local function drop_stream(id, index)
  if redis.call('SREM', key('job', id, 'streams'), index) == 1 then redis.call('UNLINK', key('job', id, 'events', index)) end
end

local function drop_streams(id)
  for _, index in ipairs(redis.call('SMEMBERS', key('job', id, 'streams'))) do drop_stream(id, index) end
end

-- The two lanes of a model: interactive jobs are served first and may use the slots kept for them.
local LANES = {'ready', 'interactive'}

-- Listed if and only if something of the job can be claimed; its tenant likewise. A returning tenant starts at the clock.
local function refresh_ready(job)
  local lane = job.interactive == 1 and 'interactive' or 'ready'
  local ready, line = key(lane, job.model), key(lane, job.model, job.tenant)
  if job.pending > 0 and job.cancel_requested + job.deadline_passed + job.paused == 0 then
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
  local lane = job.interactive == 1 and 'interactive' or 'ready'
  local own = redis.call('HGET', key('vtime', job.model), job.tenant) or 0
  local ranked = redis.call('ZSCORE', key(lane, job.model), job.tenant)
  local time = math.max(tonumber(ranked or own) + tokens, 0)
  redis.call('HSET', key('vtime', job.model), job.tenant, time)
  for _, each in ipairs(LANES) do redis.call('ZADD', key(each, job.model), 'XX', time, job.tenant) end
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
  redis.call('ZADD', key('finished'), NOW, job.id)
  redis.call('INCRBY', key('finished', 'bytes'), job.bytes)
  redis.call('UNLINK', key('job', job.id, 'retry'), key('job', job.id, 'attempts'), key('job', job.id, 'from'))
  drop_streams(job.id)
  emit(job, 'job.finished')
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

-- End of every move: what is no longer wanted ends, counts are stored, the job settles, is listed or not, and who waits is told.
local function finish(job)
  if job.pending > 0 and job.cancel_requested == 1 then end_pending(job, 'cancelled') end
  if job.pending > 0 and job.deadline_passed == 1 then end_pending(job, 'expired') end
  save_counts(job)
  settle(job)
  refresh_ready(job)
  if job.interactive == 0 or TERMINAL[job.status] then tell(job.id, job.status) end -- who waits for a chat waits for its end
end

-- Tell the workers that a job has a wish, so that it is in force at once and not at the next heartbeat.
local function wish(job)
  if job.running > 0 then redis.call('PUBLISH', key('wishes'), job.id) end
end

-- Nothing more of the job starts; why: `requested`, `token_budget` or `error_rate`.
local function cancel(job, why)
  redis.call('HSET', key('job', job.id), 'cancel_requested', 1, 'cancel_reason', why)
  job.cancel_requested = 1
  wish(job)
end

-- Stop a job that has used up its tokens or fails too often.
local STOP_AFTER = 20 -- items; an error rate means nothing before
local function limit(job)
  if job.cancel_requested == 1 then return end
  local ended = job.succeeded + job.failed
  if job.token_budget > 0 and job.prompt_tokens + job.completion_tokens >= job.token_budget then cancel(job, 'token_budget')
  elseif job.error_rate > 0 and ended >= STOP_AFTER and job.failed / ended > job.error_rate then cancel(job, 'error_rate') end
end

local MOST_FREE = 10 -- losses an item may have without a charge, because it had got further each time

-- What an item has used up: attempts charged, and losses that were not.
local function used(id, index)
  local record = redis.call('HGET', key('job', id, 'attempts'), index)
  if not record then return 0, 0 end
  local charged, free = string.match(record, '^(%d+) (%d+)$')
  return tonumber(charged), tonumber(free)
end

local CHARGED = 4294967296 -- 2^32: the `retry` score is attempts charged x this + index, so suspects sort last and in order

-- One running item waits again; with an attempt charged it is a suspect.
local function requeue(job, index, charged)
  job.running, job.pending = job.running - 1, job.pending + 1
  set_states(job.id, index, 1, 'p')
  redis.call('ZADD', key('job', job.id, 'retry'), charged * CHARGED + index, index)
end

local function fail_lost(job, index, attempts)
  job.running, job.failed = job.running - 1, job.failed + 1
  set_states(job.id, index, 1, 'f')
  redis.call('HSET', key('job', job.id, 'out'), index, cjson.encode({attempts = attempts, error = {code = 'worker_lost',
    message = 'the worker died or froze ' .. attempts .. ' times while it ran this item'}}))
  redis.call('APPEND', key('job', job.id, 'order'), struct.pack('>I4', index))
end

-- Items an incarnation held go back to pending. A lost worker's are charged an attempt, unless a checkpoint shows that this one
-- had got further; charged max_attempts times, an item fails. A draining worker's (`lost` false) are never charged.
local function hand_back(incarnation, lost, max_attempts)
  local held, grown, touched = redis.call('HGETALL', key('held', incarnation)), key('grown', incarnation), {}
  for i = 1, #held, 2 do
    local id, index = string.match(held[i], '^(%S+) (%d+)$')
    if touched[id] == nil then touched[id] = load_job(id) or false end
    local job = touched[id]
    if job then
      local charged, free = used(id, index)
      local advanced = redis.call('SISMEMBER', grown, held[i]) == 1
      if advanced then redis.call('HSET', key('job', id, 'from'), index, '@' .. incarnation) end
      if lost then
        if advanced and free < MOST_FREE then free = free + 1 else charged = charged + 1 end
        redis.call('HSET', key('job', id, 'attempts'), index, charged .. ' ' .. free)
      end
      if lost and charged >= max_attempts then fail_lost(job, index, charged) else requeue(job, index, charged) end
    end
  end
  redis.call('UNLINK', key('held', incarnation), key('replay', incarnation), key('worker', incarnation), grown)
  redis.call('ZREM', key('workers'), incarnation)
  for _, job in pairs(touched) do
    if job then finish(job) end
  end
  return #held / 2
end

-- How many rings would do something: workers with room, no more than there are items, less those already under way.
local function rings(model)
  local want, busy = 0, false
  for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), NOW, '+inf')) do
    local worker = redis.call('HMGET', key('worker', incarnation), 'model', 'room')
    if worker[1] == model and (tonumber(worker[2]) or 0) > 0 then
      if redis.call('HLEN', key('held', incarnation)) > 0 then busy = true else want = want + 1 end
    end
  end
  if busy then redis.call('PUBLISH', key('work'), model) end
  local claimable = 0
  for _, lane in ipairs(LANES) do
    for _, tenant in ipairs(redis.call('ZRANGE', key(lane, model), 0, want)) do
      for _, id in ipairs(redis.call('ZRANGE', key(lane, model, tenant), 0, want)) do
        claimable = claimable + (tonumber(redis.call('HGET', key('job', id), 'pending')) or 0)
      end
    end
  end
  return math.max(0, math.min(want, claimable) - redis.call('LLEN', 'generate.' .. model))
end

local function forget_hooks(list)
  for _, event in ipairs(redis.call('LRANGE', list, 0, -1)) do
    redis.call('UNLINK', key('hook', event))
    redis.call('ZREM', key('hooks:due'), event)
  end
  redis.call('UNLINK', list)
end

-- Remove a batch's record and its events.
local function forget_batch(id)
  local tenant = redis.call('HGET', key('batch', id), 'tenant')
  if not tenant then return end
  forget_hooks(key('batch', id, 'hooks'))
  redis.call('UNLINK', key('batch', id))
  redis.call('ZREM', key('batches:due'), id)
  redis.call('ZREM', key('tenant', tenant, 'batches'), id)
end

-- Remove a job and everything keyed by it.
local function purge(job)
  job.pending = 0
  account(job)
  refresh_ready(job)
  wish(job)
  if redis.call('ZREM', key('finished'), job.id) == 1 then redis.call('DECRBY', key('finished', 'bytes'), job.bytes) end
  forget_hooks(key('job', job.id, 'hooks'))
  if job.batch ~= '' then forget_batch(job.batch) end
  drop_streams(job.id)
  local source = redis.call('HGET', key('job', job.id), 'retry_of')
  if source and redis.call('HGET', key('job', source), 'retried_by') == job.id then
    redis.call('HDEL', key('job', source), 'retried_by')
  end
  for _, part in ipairs({'in', 'starts', 'st', 'retry', 'attempts', 'from', 'out', 'order'}) do
    redis.call('UNLINK', key('job', job.id, part))
  end
  redis.call('UNLINK', key('job', job.id))
  redis.call('ZREM', key('due'), 'expire:' .. job.id, 'purge:' .. job.id)
  redis.call('ZREM', key('tenant', job.tenant, 'jobs'), job.id)
end
