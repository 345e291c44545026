-- Gives items out: chunks, slots, and what waits again.

local LOOKS = 256 -- jobs or items that are searched at a time for those that fit

local claims = {} -- what the incarnation holds from now on: slot, attempt, ...

-- The chunk an item lies in: its first index, and that of the next.
local function chunk_of(job, index)
  if job.total == 1 then return 0, 1 end
  if not job.chunk or index < job.chunk or index >= job.chunk_end then
    local starts = key('job', job.id, 'starts')
    job.chunk = tonumber(redis.call('ZREVRANGEBYSCORE', starts, index, '-inf', 'LIMIT', 0, 1)[1])
    job.chunk_end = tonumber(redis.call('ZRANGEBYSCORE', starts, '(' .. index, '+inf', 'LIMIT', 0, 1)[1]) or job.total
  end
  return job.chunk, job.chunk_end
end

-- Give out items of one chunk; a run that goes on where the job's last one ended is one with it.
local function take(job, first, count, attempt, resumed)
  touch(job)
  for index = first, first + count - 1 do
    claims[#claims + 1], claims[#claims + 2] = job.id .. ' ' .. index, attempt
  end
  job.pending, job.running = job.pending - count, job.running + count
  local chunk, last = chunk_of(job, first), job.run
  if last and not resumed and not last[6] and last[2] + last[3] == first and last[4] == attempt and last[5] == chunk then
    last[3] = last[3] + count
  else
    job.run = {job.id, first, count, attempt, chunk, resumed}
    runs[#runs + 1] = job.run
  end
end

local function write_claims()
  call_with(claims, 'HSET', heldkey)
  for _, run in ipairs(runs) do set_states(run[1], run[2], run[3], 'r') end
end

-- How many slots an item takes.
local function need(job, index)
  if job.n_min == job.n_max then return job.n_max end
  return string.byte(redis.call('GETRANGE', key('job', job.id, 'needs'), index, index)) or job.n_max
end

-- Of `left` slots, those that an item of `n` may use: one that would not fit beside the kept ones may use those, too.
local function free(n, left, keep)
  return n > slots - keep and left or left - keep
end

-- Whether an item that waits again got somewhere: it left a checkpoint, or clients have tokens of it.
local function got_somewhere(job, index)
  return redis.call('HEXISTS', key('job', job.id, 'from'), index) == 1
    or redis.call('SISMEMBER', key('job', job.id, 'streams'), index) == 1
end

-- Items that wait again, with `least` to `most` attempts charged: `count` at most, into `left` slots. What no slot of this worker
-- is enough for is passed over. Answers how many it took, the slots they take, and whether one waits for more to be free.
local function take_retries(job, count, left, keep, least, most)
  local taken, used = 0, 0
  local indices = redis.call('ZRANGEBYSCORE', key('job', job.id, 'retry'), least * CHARGED, '(' .. (most + 1) * CHARGED,
    'LIMIT', 0, LOOKS)
  for _, index in ipairs(indices) do
    local n = need(job, index)
    if taken == count then break end
    if n <= slots then
      if n > free(n, left - used, keep) then return taken, used, true end
      local charged = math.floor(redis.call('ZSCORE', key('job', job.id, 'retry'), index) / CHARGED)
      redis.call('ZREM', key('job', job.id, 'retry'), index)
      take(job, tonumber(index), 1, charged + 1, got_somewhere(job, index))
      taken, used = taken + 1, used + n
    end
  end
  return taken, used, false
end

-- Never-claimed items, a run for each chunk: a worker that reads a chunk gets all items that it needs of it.
local function take_fresh(job, count)
  while count > 0 do
    local _, chunk_end = chunk_of(job, job.cursor)
    local run = math.min(count, chunk_end - job.cursor)
    take(job, job.cursor, run, 1, false)
    job.cursor, count = job.cursor + run, count - run
  end
end

-- Never-claimed items that need more slots than this worker has wait among those that wait again, so that it gets to the others.
local function pass_over(job)
  local needs = redis.call('GETRANGE', key('job', job.id, 'needs'), job.cursor, job.cursor + LOOKS - 1)
  local count = 0
  while count < #needs and string.byte(needs, count + 1) > slots do
    redis.call('ZADD', key('job', job.id, 'retry'), job.cursor + count, job.cursor + count)
    count = count + 1
  end
  job.cursor = job.cursor + count
  if count > 0 then touch(job) end
end

-- How many of the never-claimed items fit into `left` slots, `most` at most, and how many slots they take.
local function fitting(job, most, left, keep)
  if job.n_min == job.n_max then
    local count = math.min(most, math.max(0, math.floor(free(job.n_max, left, keep) / job.n_max)))
    return count, count * job.n_max
  end
  local count, used = 0, 0
  for _, n in ipairs({string.byte(redis.call('GETRANGE', key('job', job.id, 'needs'), job.cursor, job.cursor + most - 1), 1, -1)}) do
    if n > slots or n > free(n, left - used, keep) then break end
    count, used = count + 1, used + n
  end
  return count, used
end

local function start(job)
  if job.status ~= 'queued' then return end
  job.status = 'running'
  emit(job, 'job.started')
end
