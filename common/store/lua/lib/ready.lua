-- The lists of what can be claimed: two lanes of a model, and its suspects.

local PRIORITY_STEP = 600000 -- ten minutes a step: priority orders a tenant's jobs, and ages

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
