-- Items that wait again because their worker left or was lost: `hand_back`.

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
