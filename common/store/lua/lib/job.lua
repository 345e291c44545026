-- A job's record, read once: `load_job`, and what can be claimed of it.

-- The job's fields by name, numbers as numbers; nil when there is no such job.
local FIELDS = {'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired', 'cursor', 'prompt_tokens', 'completion_tokens',
  'bytes', 'total', 'cost', 'n_max', 'n_min', 'priority', 'created_at', 'cancel_requested', 'deadline_passed', 'paused', 'interactive',
  'retention', 'token_budget', 'error_rate', 'suspected', 'streamed', 'weight', 'surplus', 'waiting', 'awaited', 'tenant', 'model', 'hooks',
  'batch', 'status'}
local COUNTS, NUMBERS, STATUS = 10, 29, #FIELDS -- the first so many are counts, which scripts move, and numbers
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
    weight = v[26], surplus = v[27], waiting = v[28], awaited = v[29], tenant = v[30], model = v[31] or '', hooks = v[32] or '',
    batch = v[33] or '', status = v[34] or '',
    queued = v[1], kept = v[10], -- what `account` has counted
    listed = false} -- what `refresh_ready` has seen to
  if job.n_min == 0 then job.n_min = job.n_max end -- all items take the same
  job.listed = listed(job)
  return job
end
