-- exchange(incarnation, call, room, lease, then per result: job, index, attempt, state, prompt tokens, completion tokens, blob)
-- Hands finished results in and takes up to `room` slots of new items. Answers JSON:
--   lost     true when this incarnation has no lease any more: nothing was taken, it must start over under a new name
--   refused  [job, index] of results that were not this incarnation's to write
--   runs     [job, first index, count, attempt, first index of the chunk they lie in]
--   now      this server's clock
--   hooked   true when the webhook worker has something to do
-- The answer is kept under the call number: a client that sends a call again gets the same answer and changes nothing.
local incarnation, call, room, lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local workerkey, heldkey, replay = key('worker', incarnation), key('held', incarnation), key('replay', incarnation)

if not redis.call('ZSCORE', key('workers'), incarnation) then return '{"lost":true}' end
local worker = redis.call('HMGET', workerkey, 'call', 'model')
if worker[1] == call then
  local answer = redis.call('GET', replay)
  if answer then return answer end
end
local model = worker[2]

local touched, refused, runs = {}, {}, {}
local function job_of(id)
  if touched[id] == nil then touched[id] = load_job(id) or false end
  return touched[id]
end

-- Results in.
for i = 5, #ARGV, 7 do
  local id, index, attempt, state, blob = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 6]
  local prompt_tokens, completion_tokens = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local slot, job = id .. ' ' .. index, job_of(id)
  if redis.call('HGET', heldkey, slot) ~= attempt or not job then
    refused[#refused + 1] = {id, tonumber(index)}
    redis.call('HDEL', heldkey, slot)
  else
    redis.call('HDEL', heldkey, slot)
    redis.call('HSET', key('job', id, 'out'), index, blob)
    redis.call('APPEND', key('job', id, 'order'), struct.pack('>I4', index))
    set_states(id, index, 1, string.sub(state, 1, 1))
    job.running, job[state] = job.running - 1, job[state] + 1
    job.prompt_added = (job.prompt_added or 0) + prompt_tokens
    job.completion_added = (job.completion_added or 0) + completion_tokens
    job.correction = (job.correction or 0) + prompt_tokens + completion_tokens - job.cost
  end
end
for id, job in pairs(touched) do
  if job and job.prompt_added then
    redis.call('HINCRBY', key('job', id), 'prompt_tokens', job.prompt_added)
    redis.call('HINCRBY', key('job', id), 'completion_tokens', job.completion_added)
    charge(job, job.correction)
  end
end

-- Items out. With several tenants waiting, one item a pick keeps them level; alone, a tenant gets contiguous runs.
local function take(job, first, count, attempt)
  local fields = {}
  for index = first, first + count - 1 do
    fields[#fields + 1] = job.id .. ' ' .. string.format('%d', index)
    fields[#fields + 1] = attempt
  end
  redis.call('HSET', heldkey, unpack(fields))
  set_states(job.id, first, count, 'r')
  job.pending, job.running = job.pending - count, job.running + count
  local start = redis.call('ZREVRANGEBYSCORE', key('job', job.id, 'starts'), first, '-inf', 'LIMIT', 0, 1)[1]
  runs[#runs + 1] = {job.id, first, count, attempt, tonumber(start)}
end

-- Never-claimed items, a run for each chunk: whoever reads a chunk gets all it needs of it.
local function take_fresh(job, count)
  while count > 0 do
    local next = redis.call('ZRANGEBYSCORE', key('job', job.id, 'starts'), '(' .. job.cursor, '+inf', 'LIMIT', 0, 1)[1]
    local run = math.min(count, (tonumber(next) or job.total) - job.cursor)
    take(job, job.cursor, run, 1)
    job.cursor, count = job.cursor + run, count - run
  end
end

local function claim(job, most)
  local count = math.min(most, job.pending)
  for _ = 1, count do
    local popped = redis.call('ZPOPMIN', key('job', job.id, 'retry'))
    if not popped[1] then break end
    local used = tonumber(redis.call('HGET', key('job', job.id, 'attempts'), popped[1])) or 0
    take(job, tonumber(popped[1]), 1, used + 1)
    count = count - 1
  end
  take_fresh(job, math.min(count, job.total - job.cursor))
end

local ready = key('ready', model)
while room > 0 do
  local pick = redis.call('ZRANGE', ready, 0, 0, 'WITHSCORES')
  local tenant = pick[1]
  if not tenant then break end
  local job = job_of(redis.call('ZRANGE', key('ready', model, tenant), 0, 0)[1])
  local fitting = math.floor(room / job.n_max)
  if fitting < 1 then break end -- wait for room rather than pass it over for ever
  if redis.call('ZCARD', ready) > 1 then fitting = 1 end
  redis.call('SET', key('vclock', model), pick[2])
  local before = job.pending
  claim(job, math.min(fitting, 256))
  local taken = before - job.pending
  room = room - taken * job.n_max
  if job.status == 'queued' then
    job.status = 'running'
    redis.call('HSET', key('job', job.id), 'status', 'running', 'started_at', string.format('%d', NOW))
    emit(job, 'job.started')
  end
  charge(job, taken * job.cost)
  refresh_ready(job)
end

for _, job in pairs(touched) do
  if job then finish(job) end
end

local answer = cjson.encode({refused = refused, runs = runs, now = NOW, hooked = HOOKED})
redis.call('HSET', workerkey, 'call', call, 'room', math.max(room, 0))
redis.call('SET', replay, answer, 'PX', lease * 10)
return answer
