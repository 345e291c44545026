-- Stores what a script changed of a job, and counts what ended for /metrics.

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

-- A pause that ends now is added to the time that the job was paused since its start, which is no part of its running time.
local function end_pause(id)
  local times = redis.call('HMGET', key('job', id), 'paused_at', 'started_at')
  if times[1] and times[2] then
    redis.call('HINCRBY', key('job', id), 'paused_ms', NOW - math.max(tonumber(times[1]), tonumber(times[2])))
  end
  redis.call('HSET', key('job', id), 'resumed_at', string.format('%d', NOW))
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
    if TERMINAL[job.status] and job.paused == 1 then end_pause(job.id) end
    changes[n + 1], changes[n + 2] = 'status', job.status
    changes[n + 3], changes[n + 4], n = TERMINAL[job.status] and 'finished_at' or 'started_at', NOW, n + 4
  end
  if n > 0 then redis.call('HSET', key('job', job.id), unpack(changes, 1, n)) end
end

local function set_states(id, first, count, byte)
  redis.call('SETRANGE', key('job', id, 'st'), first, string.rep(byte, count))
end
