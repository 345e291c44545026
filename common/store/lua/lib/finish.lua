-- The end of every move: `finish_all` settles jobs, stores them and lists them anew. And what stops a job.

-- A job with nothing left becomes terminal, once. One that waits for other jobs has nothing yet.
local function settle(job)
  if TERMINAL[job.status] or job.pending + job.running > 0 then return false end
  if job.waiting == 1 then
    if job.cancel_requested + job.deadline_passed == 0 then return false end
    job.status = job.cancel_requested == 1 and 'cancelled' or 'expired'
  elseif job.cancel_requested == 1 and job.cancelled > 0 then job.status = 'cancelled'
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
    if job.waiting == 1 then stop_waiting(job) end
    if job.awaited == 1 then call_waiters(job.id) end
    evaluate_ended(job)
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

-- End of every move: what is no longer wanted ends, counts are stored, jobs settle, are listed or not, and followers hear of it.
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
    if job.interactive == 0 or TERMINAL[job.status] then tell(job.id, job.status) end -- a chat's client waits for its end alone
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

-- A job that waits for others ends without items; why: `source_deleted`, `source_empty` or `refused`. `said` is JSON of the error.
local function end_derived(job, why, said)
  redis.call('HSET', key('job', job.id), 'error', said)
  cancel(job, why)
  finish(job)
end

-- Stop a job that has used up its tokens or fails too often.
local STOP_AFTER = 20 -- items; an error rate means nothing before
local function limit(job)
  if job.cancel_requested == 1 then return end
  local ended = job.succeeded + job.failed
  if job.token_budget > 0 and job.prompt_tokens + job.completion_tokens >= job.token_budget then cancel(job, 'token_budget')
  elseif job.error_rate > 0 and ended >= STOP_AFTER and job.failed / ended > job.error_rate then cancel(job, 'error_rate') end
end
