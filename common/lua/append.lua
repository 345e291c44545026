-- append(job, stage, items, tokens, most slots an item takes, bytes): add a staged segment to a job that is not over.
-- Answers {outcome, rings}: `added`; `terminal`; `gone` (no such job); `lost` (the stage ran out of time).
-- Repeating a call whose reply was lost answers `added` and adds nothing.
local id, stage = ARGV[1], ARGV[2]
local items, tokens, n_max = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local staged, starts = key('stage', stage, 'in'), key('stage', stage, 'starts')
local job = load_job(id)
if not job then return {'gone', 0} end
if redis.call('HGET', key('job', id), 'appended') == stage then return {'added', rings(job.model)} end
if TERMINAL[job.status] or job.cancel_requested == 1 then
  redis.call('UNLINK', staged, starts)
  return {'terminal', 0}
end
if redis.call('EXISTS', staged) == 0 then return {'lost', 0} end

for _, start in ipairs(redis.call('ZRANGE', starts, 0, -1)) do
  local first = string.format('%d', job.total + start)
  redis.call('HSET', key('job', id, 'in'), first, redis.call('HGET', staged, start))
  redis.call('ZADD', key('job', id, 'starts'), first, first)
end
redis.call('UNLINK', staged, starts)
redis.call('APPEND', key('job', id, 'st'), string.rep('p', items))

-- What waits was counted at the old cost: take it out of the count, and put all of it back at the new one.
local waiting, waiting_tokens = job.pending, job.pending * job.cost
job.pending = 0
account(job)
job.cost = math.ceil((waiting_tokens + tokens) / (waiting + items))
job.pending, job.total, job.n_max = waiting + items, job.total + items, math.max(job.n_max, n_max)
redis.call('HSET', key('job', id), 'total', job.total, 'cost', job.cost, 'n_max', job.n_max, 'appended', stage)
redis.call('HINCRBY', key('job', id), 'bytes', ARGV[6])
finish(job)
return {'added', rings(job.model)}
