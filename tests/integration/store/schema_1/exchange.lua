-- exchange(incarnation, call, room, kept, then per result: job, index, attempt, state, prompt tokens, completion tokens, blob)
-- Hands finished results in and takes items for up to `room` slots, of which the last `kept` are for interactive jobs only.
-- A result's state may be `pending`: the item is handed back, uncharged, with a blob of how far it got.
-- Answers JSON:
--   lost     true when this incarnation has no lease any more: nothing was taken, it must start over under a new name
--   refused  [job, index] of results that were not this incarnation's to write
--   runs     [job, first index, count, attempt, first index of the chunk they lie in, true if it ran before and got somewhere]
--   now      this server's clock
--   hooked   true when the webhook worker has something to do
-- The answer is kept under the call number: a client that sends a call again gets the same answer and changes nothing.
local incarnation, call, room, kept = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local workerkey, heldkey, replay = key('worker', incarnation), key('held', incarnation), key('replay', incarnation)

if not redis.call('ZSCORE', key('workers'), incarnation) then return '{"lost":true}' end
local worker = redis.call('HMGET', workerkey, 'call', 'model', 'slots', 'cohort')
if worker[1] == call then
  local answer = redis.call('GET', replay)
  if answer then return answer end
end
local model, slots = worker[2], tonumber(worker[3])

local touched, refused, runs = {}, {}, {}
local function job_of(id)
  if touched[id] == nil then touched[id] = load_job(id) or false end
  return touched[id]
end

-- Results in.
local function hand_in(job, index, state, prompt_tokens, completion_tokens, blob)
  redis.call('HSET', key('job', job.id, 'out'), index, blob)
  redis.call('APPEND', key('job', job.id, 'order'), struct.pack('>I4', index))
  set_states(job.id, index, 1, string.sub(state, 1, 1))
  drop_stream(job.id, index)
  job.running, job[state] = job.running - 1, job[state] + 1
  job.prompt_added = (job.prompt_added or 0) + prompt_tokens
  job.completion_added = (job.completion_added or 0) + completion_tokens
  job.bytes_added = (job.bytes_added or 0) + #blob
  job.correction = (job.correction or 0) + prompt_tokens + completion_tokens - job.cost
end

for i = 5, #ARGV, 7 do
  local id, index, attempt, state, blob = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 6]
  local slot, job = id .. ' ' .. index, job_of(id)
  if redis.call('HGET', heldkey, slot) ~= attempt or not job then
    refused[#refused + 1] = {id, tonumber(index)}
  elseif state == 'pending' then
    if blob ~= '' then redis.call('HSET', key('job', id, 'from'), index, blob) end
    requeue(job, index, (used(id, index)))
    job.correction = (job.correction or 0) - job.cost
  else
    hand_in(job, index, state, tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]), blob)
  end
  redis.call('HDEL', heldkey, slot)
end

for id, job in pairs(touched) do
  if job and job.prompt_added then
    job.prompt_tokens = redis.call('HINCRBY', key('job', id), 'prompt_tokens', job.prompt_added)
    job.completion_tokens = redis.call('HINCRBY', key('job', id), 'completion_tokens', job.completion_added)
    job.bytes = redis.call('HINCRBY', key('job', id), 'bytes', job.bytes_added)
    limit(job)
  end
  if job and job.correction then
    charge(job, job.correction)
    refresh_ready(job) -- what was handed back can be picked below, what was just stopped can not
  end
end

-- Items out.
local function take(job, first, count, attempt, resumed)
  local fields = {}
  for index = first, first + count - 1 do
    fields[#fields + 1] = job.id .. ' ' .. string.format('%d', index)
    fields[#fields + 1] = attempt
  end
  redis.call('HSET', heldkey, unpack(fields))
  set_states(job.id, first, count, 'r')
  job.pending, job.running = job.pending - count, job.running + count
  local start = redis.call('ZREVRANGEBYSCORE', key('job', job.id, 'starts'), first, '-inf', 'LIMIT', 0, 1)[1]
  runs[#runs + 1] = {job.id, first, count, attempt, tonumber(start), resumed}
end

-- Items that wait again, with `charged` attempts used up at least and at most; answers how many it took.
local function take_retries(job, count, least, most)
  local indices = redis.call('ZRANGEBYSCORE', key('job', job.id, 'retry'), least * CHARGED, '(' .. (most + 1) * CHARGED,
    'LIMIT', 0, count)
  for _, index in ipairs(indices) do
    local charged = math.floor(redis.call('ZSCORE', key('job', job.id, 'retry'), index) / CHARGED)
    redis.call('ZREM', key('job', job.id, 'retry'), index)
    take(job, tonumber(index), 1, charged + 1, redis.call('HEXISTS', key('job', job.id, 'from'), index) == 1)
  end
  return #indices
end

-- Never-claimed items, a run for each chunk: whoever reads a chunk gets all it needs of it.
local function take_fresh(job, count)
  while count > 0 do
    local next = redis.call('ZRANGEBYSCORE', key('job', job.id, 'starts'), '(' .. job.cursor, '+inf', 'LIMIT', 0, 1)[1]
    local run = math.min(count, (tonumber(next) or job.total) - job.cursor)
    take(job, job.cursor, run, 1, false)
    job.cursor, count = job.cursor + run, count - run
  end
end

-- Items whose worker died are suspects: one of them may have killed it. They run among themselves, second attempts at most
-- sqrt(slots) together, a third alone, so that the guilty one is found and its neighbours are not. One worker a job sees to it;
-- it lets what it holds finish first, and the others go on with the rest.
local idle = redis.call('HLEN', heldkey) == 0
local cohort = not idle and worker[4] == '1'
if cohort then room = 0 end

local function isolates(job)
  local owner = job.isolating
  if owner ~= '' and owner ~= incarnation and redis.call('HLEN', key('held', owner)) > 0 then return false end
  if owner ~= incarnation then
    job.isolating = incarnation
    redis.call('HSET', key('job', job.id), 'isolating', incarnation)
  end
  return true
end

local function take_suspects(job)
  local taken = take_retries(job, math.max(1, math.floor(math.sqrt(slots) / job.n_max)), 1, 1)
  if taken == 0 then taken = take_retries(job, 1, 2, 100) end
  cohort, room = true, 0
  return taken
end

-- Take at most `most` items of this job into `free` slots; answers how many, or nil to wait with all else until this worker has
-- the room or is idle.
local function claim(job, most, free)
  local waiting_again = job.pending - (job.total - job.cursor)
  local suspects = waiting_again > 0 and redis.call('ZCOUNT', key('job', job.id, 'retry'), CHARGED, '+inf') or 0
  if suspects > 0 and isolates(job) then
    if not idle then return nil end
    return take_suspects(job)
  end
  most = math.min(most, math.floor(free / job.n_max), job.pending - suspects)
  if most < 1 then
    if suspects < job.pending and job.n_max <= slots then return nil end -- wait for room rather than pass it over for ever
    return 0
  end
  local again = waiting_again > suspects and take_retries(job, most, 0, 0) or 0
  local fresh = math.min(most - again, job.total - job.cursor)
  take_fresh(job, fresh)
  return again + fresh
end

local function start(job)
  if job.status ~= 'queued' then return end
  job.status = 'running'
  redis.call('HSET', key('job', job.id), 'status', 'running', 'started_at', string.format('%d', NOW))
  emit(job, 'job.started')
end

-- Serve one lane: the tenant that is furthest behind, its first job; those that have nothing for this worker are passed over.
-- With several tenants waiting, one item a pick keeps them level; alone, a tenant gets contiguous runs.
local function serve(lane, keep)
  local ready, passed = key(lane, model), {}
  while room > keep do
    local served = false
    local tenants = redis.call('ZRANGE', ready, 0, 31, 'WITHSCORES')
    for i = 1, #tenants, 2 do
      for _, id in ipairs(redis.call('ZRANGE', ready .. ':' .. tenants[i], 0, 7)) do
        local job = not passed[id] and job_of(id)
        if job then
          -- An item that needs more slots than are left without the kept ones would wait for ever.
          local free = job.n_max > slots - keep and room or room - keep
          local taken = claim(job, #tenants > 2 and 1 or 256, free)
          if not taken then return end
          if taken > 0 then
            redis.call('SET', key('vclock', model), tenants[i + 1])
            room, idle, served = room - taken * job.n_max, false, true
            start(job)
            charge(job, taken * job.cost)
            refresh_ready(job)
            break
          end
          passed[id] = true
        end
      end
      if served then break end
    end
    if not served then return end
  end
end

if room > 0 then serve('interactive', 0) end
if room > 0 then serve('ready', kept) end

for _, job in pairs(touched) do
  if job then finish(job) end
end

local answer = cjson.encode({refused = refused, runs = runs, now = NOW, hooked = HOOKED})
redis.call('HSET', workerkey, 'call', call, 'room', math.max(room, 0), 'cohort', cohort and 1 or 0)
redis.call('SET', replay, answer)
return answer
