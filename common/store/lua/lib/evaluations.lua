-- Evaluations: which scores of a job's items were asked for, and what came of them.

local MOST_EVALUATIONS = 20 -- of a job

-- Keep an evaluation of a job that is over; it waits for an evaluator.
local function add_evaluation(job, id, origin, asked)
  redis.call('HSET', key('eval', id), 'job', job.id, 'tenant', job.tenant, 'status', 'queued', 'origin', origin, 'asked', asked,
    'created_at', string.format('%d', NOW), 'total', job.total, 'done', 0, 'tries', 0)
  redis.call('ZADD', key('job', job.id, 'evals'), NOW, id)
  redis.call('SADD', key('evaluated'), job.id)
  line_up('evals', 'due', job.tenant, id, NOW)
end

-- The evaluation that a job's submit asked for is made as the job ends. Its id is made of the job's, so that there is one.
local function evaluate_ended(job)
  local asked = job.succeeded > 0 and redis.call('HGET', key('job', job.id), 'evaluate')
  if not asked then return end
  local id = string.gsub(job.id, '^job_', 'eval_')
  if redis.call('EXISTS', key('eval', id)) == 0 then add_evaluation(job, id, 'job', asked) end
end

-- An evaluation is over, `done` or `failed`. `gate` is JSON; the rest are fields and values.
local function close_evaluation(id, status, gate, ...)
  local record = key('eval', id)
  local about = redis.call('HMGET', record, 'job', 'tenant')
  redis.call('HSET', record, 'status', status, 'finished_at', string.format('%d', NOW), 'gate', gate, ...)
  redis.call('HDEL', record, 'claim', 'tries')
  leave_line('evals', 'due', about[2], id)
  redis.call('HINCRBY', key('metrics'), 'evaluations\31' .. status, 1)
  local job = load_job(about[1])
  if not job then return end
  if wants(job, 'evaluation.finished') then
    local data = string.sub(cjson.encode({id = id, job = job.id, status = status}), 1, -2) .. ',"gate":' .. gate .. '}'
    outbox(key('job', job.id, 'hooks'), job.id, 'evaluation.finished', data, id)
  end
  tell(job.id)
end

-- Whether this claim on an evaluation still holds. One that was removed has none.
local function holds(id, claim)
  return redis.call('HGET', key('eval', id), 'claim') == claim
end

-- What is kept of a job takes so many bytes more, also if the job is over.
local function grow(job, more)
  job.bytes = job.bytes + more
  save(job)
  account({job})
  if redis.call('ZSCORE', key('finished'), job.id) then redis.call('INCRBY', key('finished', 'bytes'), string.format('%d', more)) end
end

-- Remove all evaluations of a job.
local function forget_evaluations(job)
  for _, id in ipairs(redis.call('ZRANGE', key('job', job, 'evals'), 0, -1)) do
    local tenant = redis.call('HGET', key('eval', id), 'tenant')
    redis.call('UNLINK', key('eval', id), key('eval', id, 'refs'), key('eval', id, 'scores'))
    if tenant then leave_line('evals', 'due', tenant, id) end
  end
  redis.call('UNLINK', key('job', job, 'evals'))
  redis.call('SREM', key('evaluated'), job)
end
