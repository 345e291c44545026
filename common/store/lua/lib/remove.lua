-- Removes jobs, sweeps, batches and files with all that belongs to them.

-- An object that leaves one of a tenant's lists stays a place in it for a day, so that clients that page through it can go on from it.
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

-- Remove the record of an idempotency key; where it made this less than a day ago, it stays for the rest of that day.
local KEY_KEPT = 86400000 -- ms
local function forget_key(record, id, made_at)
  local left = made_at + KEY_KEPT - NOW
  if string.match(redis.call('GET', record) or '', '^%S+ (%S+)') ~= id then return end
  if left > 0 then redis.call('PEXPIRE', record, string.format('%d', left)) else redis.call('UNLINK', record) end
end

-- A job leaves the sweep that its id is made of, if it is in one; the sweep ends with its last job.
local function leave_sweep(job)
  local id = string.gsub(string.gsub(job, '^job', 'sweep'), '_%d+$', '')
  local jobs = key('sweep', id, 'jobs')
  if redis.call('ZREM', jobs, job) == 0 or redis.call('EXISTS', jobs) == 1 then return end
  local about = redis.call('HMGET', key('sweep', id), 'tenant', 'idem', 'created_at')
  redis.call('UNLINK', key('sweep', id))
  if not about[1] then return end
  if about[2] ~= '' then forget_key(key('sweepidem', about[1], about[2]), id, tonumber(about[3])) end
  leave_list('sweeps', about[1], id)
end

-- Remove what is kept beside a job.
local function forget_beside(id)
  leave_sweep(id)
  forget_comparisons_of(id)
  local made = redis.call('ZRANGE', key('job', id, 'idem'), 0, -1, 'WITHSCORES')
  for i = 1, #made, 2 do forget_key(made[i], id, made[i + 1]) end
  for _, part in ipairs({'side', 'prep', 'idem', 'shares', 'comparisons'}) do redis.call('UNLINK', key('job', id, part)) end
  redis.call('SREM', key('beside'), id)
end

-- The retries that a job's record lists, newest first.
local function retries_of(job)
  local found = {}
  for retry in string.gmatch(redis.call('HGET', job, 'retries') or redis.call('HGET', job, 'retried_by') or '', '[^,]+') do
    found[#found + 1] = retry
  end
  return found
end

-- Take a retry that is removed out of the list of its source, the newest of which is the source's `retried_by`. Its own retries try items
-- of the source again, too: they are the source's from now on, of which the newest are kept.
local MOST_RETRIES = 1000
local function forget_retry(source, id)
  local left, since = {}, {}
  for _, retry in ipairs(retries_of(key('job', source))) do
    if retry ~= id then left[#left + 1] = retry end
  end
  for _, retry in ipairs(retries_of(key('job', id))) do
    if redis.call('EXISTS', key('job', retry)) == 1 then
      redis.call('HSET', key('job', retry), 'retry_of', source)
      left[#left + 1], since[retry] = retry, true
    end
  end
  if next(since) then
    for _, retry in ipairs(left) do since[retry] = tonumber(redis.call('HGET', key('job', retry), 'created_at')) or 0 end
    table.sort(left, function(one, other)
      if since[one] ~= since[other] then return since[one] > since[other] end
      return one > other
    end)
    for place = #left, MOST_RETRIES + 1, -1 do left[place] = nil end
  end
  if #left > 0 then redis.call('HSET', key('job', source), 'retried_by', left[1], 'retries', table.concat(left, ','))
  else redis.call('HDEL', key('job', source), 'retried_by', 'retries') end
end

-- Jobs that wait for one that is removed end, and say why.
local function end_waiters(source)
  for _, id in ipairs(redis.call('SMEMBERS', key('job', source, 'waiters'))) do
    local waiter = load_job(id)
    if waiter and waiter.waiting == 1 then
      end_derived(waiter, 'source_deleted', cjson.encode({code = 'source_deleted',
        message = 'the job ' .. source .. ' was deleted before this one could be made of its rows'}))
    end
  end
end

-- Remove a job and everything keyed by it.
local function purge(job)
  if job.waiting == 1 then stop_waiting(job) end
  if job.awaited == 1 then end_waiters(job.id) end
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
  if source and redis.call('EXISTS', key('job', source)) == 1 then forget_retry(source, job.id) end
  forget_beside(job.id)
  forget_evaluations(job.id)
  for _, part in ipairs({'in', 'starts', 'st', 'retry', 'attempts', 'from', 'needs', 'out', 'order', 'waiters'}) do
    redis.call('UNLINK', key('job', job.id, part))
  end
  redis.call('UNLINK', key('job', job.id))
  redis.call('ZREM', key('due'), 'expire:' .. job.id, 'purge:' .. job.id)
  leave_list('jobs', job.tenant, job.id)
end
