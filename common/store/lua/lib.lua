-- The head of every script: key names, the clock, and `finish_all`, which ends every move.
-- Key schema: common/store/keys.py. Times are milliseconds of this server's clock.

local PRIORITY_STEP = 600000 -- ten minutes a step: priority orders a tenant's jobs, and ages

local function key(name, owner, part, rest)
  if rest then return 'pm:' .. name .. ':' .. owner .. ':' .. part .. ':' .. rest end
  if part then return 'pm:' .. name .. ':' .. owner .. ':' .. part end
  return owner and 'pm:' .. name .. ':' .. owner or 'pm:' .. name
end

-- The lists of a lane: of a model's tenants, and of a tenant's jobs. A colon in the model's name is written %3A, so that `x:t` shares
-- no key with tenant t of model x.
local LANE_NAMES = {}
local function lane_key(lane, model, tenant)
  local name = LANE_NAMES[model]
  if not name then
    name = string.gsub(model, '[:%%]', function(byte) return string.format('%%%02X', string.byte(byte)) end)
    LANE_NAMES[model] = name
  end
  return key(lane, name, tenant)
end

-- A part that is older than the store allows must not touch it (`common/store/version.py`).
local NEEDED = tonumber(redis.call('HGET', key('version'), 'compatible')) or 0
if NEEDED == 1000000 then return redis.error_reply('PMRESTORE a backup is restored here') end
if NEEDED > SCHEMA then
  return redis.error_reply('PMVERSION this store takes parts from schema ' .. NEEDED .. ' on; this one has ' .. SCHEMA)
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local NOW = clock()
local HOOKED = false -- an event was written
local TERMINAL = {completed = true, cancelled = true, expired = true}

-- The job's fields by name, numbers as numbers; nil when there is no such job.
local FIELDS = {'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired', 'cursor', 'prompt_tokens', 'completion_tokens',
  'bytes', 'total', 'cost', 'n_max', 'n_min', 'priority', 'created_at', 'cancel_requested', 'deadline_passed', 'paused', 'interactive',
  'retention', 'token_budget', 'error_rate', 'suspected', 'streamed', 'weight', 'surplus', 'tenant', 'model', 'hooks', 'batch', 'status'}
local COUNTS, NUMBERS, STATUS = 10, 27, #FIELDS -- the first so many are counts, which scripts move, and numbers
local SAVED = {} -- what `save` stores of a job, kept as one table for all

local CHARGED = 4294967296 -- 2^32: the `retry` score is attempts charged x this + index, so suspects sort last and in order

-- How many of a job's items wait again with an attempt charged: one of them may have killed its worker. Few jobs ever have any.
local function suspects(job)
  if job.suspected == 0 then return 0 end
  return redis.call('ZCOUNT', key('job', job.id, 'retry'), CHARGED, '+inf')
end

-- How many of the job's items may be taken now.
local function claimable(job)
  return job.cancel_requested + job.deadline_passed + job.paused == 0 and job.pending or 0
end

-- Whether the lists of what can be claimed hold it: if and only if something of the job can be claimed that is no suspect.
local function listed(job)
  return claimable(job) > suspects(job)
end

-- Written out, because a table made at its size costs half of one that grows, and an exchange loads hundreds of jobs.
local function load_job(id)
  local v = redis.call('HMGET', key('job', id), unpack(FIELDS))
  if not v[NUMBERS + 1] then return nil end
  for i = 1, NUMBERS do v[i] = tonumber(v[i]) or 0 end
  local job = {id = id, stored = v, touched = false, correction = false,
    pending = v[1], running = v[2], succeeded = v[3], failed = v[4], cancelled = v[5], expired = v[6], cursor = v[7],
    prompt_tokens = v[8], completion_tokens = v[9], bytes = v[10], total = v[11], cost = v[12], n_max = v[13],
    n_min = v[14], priority = v[15], created_at = v[16], cancel_requested = v[17], deadline_passed = v[18], paused = v[19],
    interactive = v[20], retention = v[21], token_budget = v[22], error_rate = v[23], suspected = v[24], streamed = v[25],
    weight = v[26], surplus = v[27], tenant = v[28], model = v[29] or '', hooks = v[30] or '', batch = v[31] or '',
    status = v[32] or '',
    queued = v[1], kept = v[10], -- what `account` has counted
    listed = false} -- what `refresh_ready` has seen to
  if job.n_min == 0 then job.n_min = job.n_max end -- all items take the same
  job.listed = listed(job)
  return job
end

-- Run a command for a list of values after its first arguments, as many at a time as the stack takes. Answers what it answered, in
-- one list.
local MOST_VALUES = 6000 -- even: they may be pairs
local function call_with(values, command, name, option)
  local answers = {}
  for first = 1, #values, MOST_VALUES do
    local last = math.min(first + MOST_VALUES - 1, #values)
    local answer
    if option then answer = redis.call(command, name, option, unpack(values, first, last))
    else answer = redis.call(command, name, unpack(values, first, last)) end
    if #values == last and first == 1 then return answer end
    for i = 1, type(answer) == 'table' and #answer or 0 do answers[first + i - 1] = answer[i] end
  end
  return answers
end

-- Whether the recount of what tenants keep (tick does it) has been at something of a tenant's jobs or files that was made at
-- `created_at`.
local RECOUNT
local function recounted(tenant, what, created_at)
  RECOUNT = RECOUNT or redis.call('HMGET', key('recount'), 'tenant', 'what', 'score')
  return RECOUNT[1] == tenant and RECOUNT[2] == what and created_at <= tonumber(RECOUNT[3])
end

-- A tenant keeps so many bytes more of jobs or files; `again` of them are of what the recount has been at, whose sum changes, too.
local function count_stored(tenant, what, bytes, again)
  if bytes ~= 0 and redis.call('HINCRBY', key('stored', tenant), what, bytes) == 0 then
    redis.call('HDEL', key('stored', tenant), what)
  end
  if again ~= 0 then redis.call('HINCRBY', key('recount'), 'sum', again) end
end

-- Whether a tenant would keep more than `most` bytes with so many more; 0 for no limit.
local function over_stored(tenant, more, most)
  if most == 0 then return false end
  local kept = redis.call('HMGET', key('stored', tenant), 'jobs', 'files')
  return (tonumber(kept[1]) or 0) + (tonumber(kept[2]) or 0) + more > most
end

-- Keep count of what waits, by tenant and in all, and of what is kept: what admission goes by. Interactive jobs are kept for a minute,
-- which does not count.
local function account(jobs)
  local sums, surplus, kept = {}, 0, {}
  for _, job in ipairs(jobs) do
    local more = job.bytes - job.kept
    job.kept = job.bytes
    if more ~= 0 and job.interactive == 0 then
      local sum = kept[job.tenant] or {0, 0}
      kept[job.tenant] = sum
      sum[1] = sum[1] + more
      if recounted(job.tenant, 'jobs', job.created_at) then sum[2] = sum[2] + more end
    end
    local delta = job.pending - job.queued
    job.queued = job.pending
    if delta ~= 0 then
      surplus = surplus + delta * job.surplus
      for _, whose in ipairs({key('queued', job.tenant), key('queued')}) do
        local sum = sums[whose] or {items = 0, tokens = 0, bytes = 0}
        sums[whose] = sum
        sum.items, sum.tokens, sum.bytes = sum.items + delta, sum.tokens + delta * job.cost, sum.bytes + delta * job.weight
      end
    end
  end
  for whose, sum in pairs(sums) do
    for name, amount in pairs(sum) do redis.call('HINCRBY', whose, name, amount) end
  end
  if surplus ~= 0 then redis.call('HINCRBY', key('queued'), 'surplus', surplus) end
  for tenant, sum in pairs(kept) do count_stored(tenant, 'jobs', sum[1], sum[2]) end
end

-- Which limit so much more would pass: `tenant_full`, `full`, `stored_full` or nil. `more` is items, tokens and bytes; `limits`, 0 for
-- none, has the same three for what the `tenant` may have waiting and for the `total` of all, and the bytes that the tenant may have
-- `stored`.
local function overfull(tenant, more, limits)
  for _, whose in ipairs({{key('queued', tenant), limits.tenant, 'tenant_full'}, {key('queued'), limits.total, 'full'}}) do
    local queued = redis.call('HMGET', whose[1], 'items', 'tokens', 'bytes')
    for i, amount in ipairs(more) do
      local most = whose[2][i]
      if most > 0 and (tonumber(queued[i]) or 0) + amount > most then return whose[3] end
    end
  end
  if over_stored(tenant, more[3], limits.stored) then return 'stored_full' end
end

-- What an idempotency key has made before: `same` or `conflict`, and the id; nil where it is free. `record` is the key's own; it made a
-- `kind` (job, batch), or added to it, and then the record goes on. Once that is gone the key is free for other content; the same
-- content is a late repetition and makes nothing.
local function made_before(record, fingerprint, kind)
  local before, made = string.match(redis.call('GET', record) or '', '^(%S+) (%S+)')
  if not before then return nil end
  if before == fingerprint then return 'same', made end
  if redis.call('EXISTS', key(kind, made)) == 1 then return 'conflict', made end
end

-- Put a stage's only chunk, which came with the call, where those of larger stages are; `ids` as attach says.
local function stage_whole(staged, starts, chunk, ids)
  if chunk == '' then return end
  redis.call('HSET', staged, 0, chunk)
  redis.call('ZADD', starts, 0, 0)
  for i = 1, #ids, 10 do
    local bucket = '#' .. struct.unpack('>I2', ids, i)
    redis.call('HSET', staged, bucket, (redis.call('HGET', staged, bucket) or '') .. string.sub(ids, i + 2, i + 9))
  end
end

-- What came to its end in this script, by field of `metrics` as common/store/metrics.py has them.
local TALLIED = {succeeded = 'items', failed = 'items', cancelled = 'items', expired = 'items', prompt_tokens = 'prompt_tokens',
  completion_tokens = 'generated_tokens'}
local ended = {}
local function note_end(job, name, number)
  local field = TALLIED[name] .. '\31' .. job.model .. (TALLIED[name] == 'items' and '\31' .. name or '')
  ended[field] = (ended[field] or 0) + number
end

local function tally()
  for field, number in pairs(ended) do redis.call('HINCRBY', key('metrics'), field, number) end
  ended = {}
end

-- Store the counts that have changed, and the status with the time it changed.
local function save(job)
  local changes, n, stored = SAVED, 0, job.stored
  for i = 1, COUNTS do
    local name = FIELDS[i]
    if job[name] ~= stored[i] then
      if TALLIED[name] then note_end(job, name, job[name] - stored[i]) end
      stored[i] = job[name]
      changes[n + 1], changes[n + 2], n = name, job[name], n + 2
    end
  end
  if job.status ~= stored[STATUS] then
    stored[STATUS] = job.status
    changes[n + 1], changes[n + 2] = 'status', job.status
    changes[n + 3], changes[n + 4], n = TERMINAL[job.status] and 'finished_at' or 'started_at', NOW, n + 4
  end
  if n > 0 then redis.call('HSET', key('job', job.id), unpack(changes, 1, n)) end
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
  if job.hooks == '' then return end
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

-- The order in which jobs with suspects are served: interactive ones first, second attempts before later ones, the oldest job first.
-- The score in `suspects` is the rank x this + the job's created_at in ms.
local RANK = 8796093022208 -- 2^43
local function rank_of(job, charged)
  return (job.interactive == 1 and 0 or 2) + (charged > 1 and 1 or 0)
end

-- The two lanes of a model: interactive jobs are served first and may use the slots kept for them.
local LANES = {'ready', 'interactive'}

-- Listed in `suspects` if and only if suspects of the job can be claimed.
local function refresh_suspects(job, open)
  local first = open and redis.call('ZRANGEBYSCORE', key('job', job.id, 'retry'), CHARGED, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if first then
    local score = rank_of(job, math.floor(first / CHARGED)) * RANK + job.created_at
    redis.call('ZADD', key('suspects', job.model), string.format('%d', score), job.id)
  else
    redis.call('ZREM', key('suspects', job.model), job.id)
  end
end

-- List what can be claimed, and its tenant, and nothing else. A returning tenant starts at the clock.
local function list_job(job, ready, line)
  redis.call('ZADD', line, job.created_at - job.priority * PRIORITY_STEP, job.id)
  if not redis.call('ZSCORE', ready, job.tenant) then
    local own = tonumber(redis.call('HGET', key('vtime', job.model), job.tenant)) or 0
    local now = tonumber(redis.call('GET', key('vclock', job.model))) or 0
    redis.call('ZADD', ready, math.max(own, now), job.tenant)
  end
end

local function refresh_ready(jobs)
  local gone = {} -- by line: its tenants' list, the tenant, and the jobs that leave it
  for _, job in ipairs(jobs) do
    if job.suspected == 1 then refresh_suspects(job, claimable(job) > 0) end
    local now = listed(job)
    if now ~= job.listed then
      local lane = job.interactive == 1 and 'interactive' or 'ready'
      local ready, line = lane_key(lane, job.model), lane_key(lane, job.model, job.tenant)
      job.listed = now
      if now then
        list_job(job, ready, line)
      else
        gone[line] = gone[line] or {ready = ready, tenant = job.tenant}
        table.insert(gone[line], job.id)
      end
    end
  end
  local idle = {} -- tenants, by the list they leave
  for line, ids in pairs(gone) do
    call_with(ids, 'ZREM', line)
    if redis.call('EXISTS', line) == 0 then
      idle[ids.ready] = idle[ids.ready] or {}
      table.insert(idle[ids.ready], ids.tenant)
    end
  end
  for ready, tenants in pairs(idle) do call_with(tenants, 'ZREM', ready) end
end

-- A job with nothing left becomes terminal, once.
local function settle(job)
  if TERMINAL[job.status] or job.pending + job.running > 0 then return false end
  if job.cancel_requested == 1 and job.cancelled > 0 then job.status = 'cancelled'
  elseif job.expired > 0 then job.status = 'expired'
  else job.status = 'completed' end
  return true
end

-- What is only of use to jobs that are not over goes; then their purge is due. They are of one model.
local function bury(jobs)
  local ids, unwanted, expiries, purges, times, bytes = {}, {}, {}, {}, {}, 0
  for _, job in ipairs(jobs) do
    local n, id = #ids, job.id
    ids[n + 1] = id
    unwanted[4 * n + 1], unwanted[4 * n + 2] = key('job', id, 'retry'), key('job', id, 'attempts')
    unwanted[4 * n + 3], unwanted[4 * n + 4] = key('job', id, 'from'), key('job', id, 'needs')
    expiries[n + 1] = 'expire:' .. id
    purges[2 * n + 1], purges[2 * n + 2] = NOW + job.retention, 'purge:' .. id
    times[2 * n + 1], times[2 * n + 2] = NOW, id
    bytes = bytes + job.bytes
    if job.streamed == 1 then drop_streams(job.id) end
    emit(job, 'job.finished')
  end
  if #jobs == 0 then return end
  call_with(unwanted, 'UNLINK', unwanted[1])
  call_with(expiries, 'ZREM', key('due'))
  call_with(ids, 'SREM', key('unfinished', jobs[1].model))
  call_with(purges, 'ZADD', key('due'))
  call_with(times, 'ZADD', key('finished'))
  redis.call('INCRBY', key('finished', 'bytes'), bytes)
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

-- End of every move: what is no longer wanted ends, counts are stored, jobs settle, are listed or not, and who waits is told.
local function finish_all(jobs)
  local over = {}
  for _, job in ipairs(jobs) do
    if job.pending > 0 and job.cancel_requested == 1 then end_pending(job, 'cancelled') end
    if job.pending > 0 and job.deadline_passed == 1 then end_pending(job, 'expired') end
    if settle(job) then over[#over + 1] = job end
    save(job)
  end
  tally()
  account(jobs)
  bury(over)
  refresh_ready(jobs)
  for _, job in ipairs(jobs) do
    if job.interactive == 0 or TERMINAL[job.status] then tell(job.id, job.status) end -- who waits for a chat waits for its end
  end
end

local function finish(job)
  finish_all({job})
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

-- One running item waits again; with an attempt charged it is a suspect.
local function requeue(job, index, charged)
  job.running, job.pending = job.running - 1, job.pending + 1
  set_states(job.id, index, 1, 'p')
  redis.call('ZADD', key('job', job.id, 'retry'), charged * CHARGED + index, index)
  if charged > 0 and job.suspected == 0 then
    job.suspected = 1
    redis.call('HSET', key('job', job.id), 'suspected', 1)
  end
end

local function fail_lost(job, index, attempts)
  job.running, job.failed = job.running - 1, job.failed + 1
  set_states(job.id, index, 1, 'f')
  redis.call('HSET', key('job', job.id, 'out'), index, cjson.encode({attempts = attempts, error = {code = 'worker_lost',
    message = 'the worker died, froze or failed ' .. attempts .. ' times while it ran this item'}}))
  redis.call('APPEND', key('job', job.id, 'order'), struct.pack('>I4', index))
end

-- Items an incarnation held go back to pending. A lost worker's are charged an attempt, unless a checkpoint shows that this one
-- had got further; charged max_attempts times, an item fails. A draining worker's (`lost` false) are never charged.
local function hand_back(incarnation, lost, max_attempts)
  local model = redis.call('HGET', key('worker', incarnation), 'model')
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
  if model then
    redis.call('ZREM', key('room', model), incarnation)
    redis.call('ZREM', key('woken', model), incarnation)
  end
  local jobs = {}
  for _, job in pairs(touched) do
    if job then jobs[#jobs + 1] = job end
  end
  finish_all(jobs)
  return #held / 2, model
end

-- How many items of a model can be claimed, counted up to `most`. Many jobs are not looked at one by one: they count as `most`.
local MOST_JOBS = 64
local function count_waiting(model, most)
  local found, jobs, last = redis.call('ZCARD', key('suspects', model)), 0, math.min(most, MOST_JOBS + 1) - 1
  for _, lane in ipairs(LANES) do
    for _, tenant in ipairs(redis.call('ZRANGE', lane_key(lane, model), 0, last)) do
      for _, id in ipairs(redis.call('ZRANGE', lane_key(lane, model, tenant), 0, last)) do
        found, jobs = found + (tonumber(redis.call('HGET', key('job', id), 'pending')) or 0), jobs + 1
        if found >= most or jobs > MOST_JOBS then return most end
      end
    end
  end
  return found
end

-- Workers of a model that have room are listed by load, the share of their slots that is taken. A wake counts as some load more
-- until the worker's next exchange, so that the wakes of a burst go to different workers.
local WOKEN = 0.01

local function list_worker(model, incarnation, room, slots)
  if room > 0 then redis.call('ZADD', key('room', model), 1 - room / slots, incarnation)
  else redis.call('ZREM', key('room', model), incarnation) end
end

-- Wake a worker for each of so many items, the least loaded first, idle ones before all others. Answers how many rings are wanted:
-- one for each worker that does not listen, less those already under way. A `doubted` wake is one that was lost before: idle workers
-- are rung as well.
local function wake(model, items, doubted)
  local rings = 0
  local chosen = items > 0 and redis.call('ZRANGE', key('room', model), 0, items - 1) or {}
  for _, incarnation in ipairs(chosen) do
    redis.call('ZINCRBY', key('room', model), WOKEN, incarnation)
    local heard = redis.call('PUBLISH', key('work', incarnation), model) > 0
    if heard then redis.call('ZADD', key('woken', model), NOW, incarnation) end
    if not heard or doubted and redis.call('HLEN', key('held', incarnation)) == 0 then rings = rings + 1 end
  end
  return rings > 0 and math.max(0, rings - redis.call('LLEN', 'generate.' .. model)) or 0
end

-- Tenants take turns: who is served, or has something to be served again, goes to the end of the row.
local function to_the_end(turns, tenant, option)
  local last = redis.call('ZRANGE', turns, -1, -1, 'WITHSCORES')[2]
  local place = (tonumber(last) or 0) + 1
  if option then redis.call('ZADD', turns, option, place, tenant) else redis.call('ZADD', turns, place, tenant) end
end

-- A ring lies in the webhook worker's queue that nobody has taken yet.
local function hooks_rung()
  return redis.call('LLEN', 'webhooks') > 0
end

-- Whether whoever called should ring the webhook worker: an event was written, and no ring lies there for it.
local function hooked()
  return HOOKED and not hooks_rung()
end

-- What leaves one of a tenant's lists is a place in it for a day more, so that who pages through the list can go on from it.
local PLACE_KEPT, MOST_PLACES = 86400000, 10000 -- ms, and of a tenant
local function leave_list(list, tenant, id)
  local line, gone, left = key('tenant', tenant, list), key('gone', tenant), key('left', tenant)
  local created_at = redis.call('ZSCORE', line, id)
  if not created_at then return 0 end
  redis.call('ZREM', line, id)
  redis.call('ZADD', gone, created_at, id)
  redis.call('ZADD', left, NOW, id)
  local forgotten = redis.call('ZRANGEBYSCORE', left, '-inf', NOW - PLACE_KEPT, 'LIMIT', 0, 100)
  local excess = redis.call('ZCARD', left) - #forgotten - MOST_PLACES
  if excess > 0 then forgotten = redis.call('ZRANGE', left, 0, #forgotten + excess - 1) end
  if #forgotten > 0 then
    call_with(forgotten, 'ZREM', gone)
    call_with(forgotten, 'ZREM', left)
  end
  redis.call('PEXPIRE', gone, PLACE_KEPT)
  redis.call('PEXPIRE', left, PLACE_KEPT)
  return 1
end

local function forget_hooks(list, tenant)
  local line = key('hooks:line', tenant)
  for _, event in ipairs(redis.call('LRANGE', list, 0, -1)) do
    redis.call('UNLINK', key('hook', event))
    redis.call('ZREM', key('hooks:due'), event)
    redis.call('ZREM', line, event)
    redis.call('ZREM', key('hooks:busy', tenant), event)
  end
  redis.call('UNLINK', list)
  if redis.call('EXISTS', line) == 0 then redis.call('ZREM', key('hooks:turns'), tenant) end
end

-- What is done to batches in the background, `due` (validation) or `sizing` (measuring files): each tenant has a line of its batches by
-- when that is to be done, and the tenants have turns: first comes who was served longest ago.
local function queue_batch(kind, tenant, id, at)
  redis.call('ZADD', key('batches:' .. kind, tenant), at, id)
  to_the_end(key('batches:turns', kind), tenant, 'NX')
end

local function unqueue_batch(kind, tenant, id)
  local line = key('batches:' .. kind, tenant)
  redis.call('ZREM', line, id)
  redis.call('ZREM', key('batches:' .. kind), id)
  if redis.call('EXISTS', line) == 1 then return end
  redis.call('ZREM', key('batches:turns', kind), tenant)
  if kind == 'due' then redis.call('HDEL', key('batches:busy'), tenant) end
end

-- Parts of earlier versions keep one list for all tenants: what they put there joins the lines.
local MOST_MOVED = 500
local function move_earlier(kind)
  local list = key('batches:' .. kind)
  local found = redis.call('ZRANGE', list, 0, MOST_MOVED - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local tenant = redis.call('HGET', key('batch', found[i]), 'tenant')
    redis.call('ZREM', list, found[i])
    if tenant then queue_batch(kind, tenant, found[i], found[i + 1]) end
  end
end

-- The next batch of the tenant whose turn it is, for `ms`; nil if none is due. Tenants for whom `passed` says so are passed over.
local function take_batch(kind, ms, passed)
  move_earlier(kind)
  local turns = key('batches:turns', kind)
  for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
    local line = key('batches:' .. kind, tenant)
    local id = redis.call('ZRANGEBYSCORE', line, '-inf', NOW, 'LIMIT', 0, 1)[1]
    if id and not (passed and passed(tenant, line)) then
      redis.call('ZADD', line, NOW + ms, id)
      to_the_end(turns, tenant)
      return id, tenant
    end
  end
end

-- Remove a file of a tenant, who need not be named while its record is there. Answers whether it left the tenant's list.
local function forget_file(id, tenant)
  local about = redis.call('HMGET', key('file', id), 'tenant', 'stored', 'bytes', 'created_at')
  redis.call('UNLINK', key('file', id), key('file', id, 'data'), key('file', id, 'verdicts'))
  redis.call('ZREM', key('due'), 'file:' .. id)
  if about[1] then
    local bytes = tonumber(about[2] or about[3]) or 0
    count_stored(about[1], 'files', -bytes, recounted(about[1], 'files', tonumber(about[4]) or 0) and -bytes or 0)
  end
  tenant = about[1] or tenant
  return tenant and leave_list('files', tenant, id) or 0
end

-- Remove a batch's record and its events.
local function forget_batch(id)
  local tenant = redis.call('HGET', key('batch', id), 'tenant')
  if not tenant then return end
  forget_hooks(key('batch', id, 'hooks'), tenant)
  redis.call('UNLINK', key('batch', id))
  unqueue_batch('due', tenant, id)
  unqueue_batch('sizing', tenant, id)
  leave_list('batches', tenant, id)
end

-- Nobody is logged in as this tenant any more, and no link that was made for it works. Answers how many sessions and links these were.
local function end_sessions(tenant)
  local links = redis.call('ZRANGE', key('tenant', tenant, 'links'), 0, -1)
  local sessions = redis.call('ZRANGE', key('tenant', tenant, 'sessions'), 0, -1)
  for _, link in ipairs(links) do redis.call('DEL', key('login', link)) end
  for _, session in ipairs(sessions) do redis.call('DEL', key('begun', session)) end
  redis.call('DEL', key('tenant', tenant, 'links'), key('tenant', tenant, 'sessions'))
  return #links + #sessions
end

-- Remove a job and everything keyed by it.
local function purge(job)
  local bytes = job.bytes
  job.pending, job.bytes = 0, 0
  account({job})
  refresh_ready({job})
  redis.call('SREM', key('unfinished', job.model), job.id)
  wish(job)
  if redis.call('ZREM', key('finished'), job.id) == 1 then redis.call('DECRBY', key('finished', 'bytes'), bytes) end
  forget_hooks(key('job', job.id, 'hooks'), job.tenant)
  if job.batch ~= '' then forget_batch(job.batch) end
  drop_streams(job.id)
  local source = redis.call('HGET', key('job', job.id), 'retry_of')
  if source and redis.call('HGET', key('job', source), 'retried_by') == job.id then
    redis.call('HDEL', key('job', source), 'retried_by')
  end
  for _, part in ipairs({'in', 'starts', 'st', 'retry', 'attempts', 'from', 'needs', 'out', 'order'}) do
    redis.call('UNLINK', key('job', job.id, part))
  end
  redis.call('UNLINK', key('job', job.id))
  redis.call('ZREM', key('due'), 'expire:' .. job.id, 'purge:' .. job.id)
  leave_list('jobs', job.tenant, job.id)
end
