-- Comparisons of jobs: kept for a day, and computed by the evaluator, tenants in turn.

local COMPARISON_KEPT = 86400000 -- ms
local FAILED_KEPT = 30000 -- ms, after which asking again tries again

local function forget_comparison(id)
  local tenant = redis.call('HGET', key('comparison', id), 'tenant')
  redis.call('UNLINK', key('comparison', id))
  if not tenant then return end
  leave_line('comparisons', 'due', tenant, id)
  redis.call('ZREM', key('comparisons:kept', tenant), id)
end

-- The comparisons that a job is in go with it.
local function forget_comparisons_of(job)
  for _, id in ipairs(redis.call('SMEMBERS', key('job', job, 'comparisons'))) do forget_comparison(id) end
end

local function end_comparison(id, status)
  local record = key('comparison', id)
  local about = redis.call('HMGET', record, 'tenant', 'job')
  redis.call('HSET', record, 'status', status)
  redis.call('HDEL', record, 'claim')
  redis.call('PEXPIRE', record, status == 'done' and COMPARISON_KEPT or FAILED_KEPT)
  leave_line('comparisons', 'due', about[1], id)
  tell(about[2])
end
