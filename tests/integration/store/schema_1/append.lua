-- append(job, stage, items, tokens, most slots an item takes, bytes, 6 limits as in attach): add a staged segment to a job that
-- is not over. Answers {outcome, rings}: `added`; `terminal`; `gone` (no such job); `lost` (the stage ran out of time);
-- `tenant_full`, `full` (a limit would be passed; nothing is left staged).
-- Repeating a call whose reply was lost answers `added` and adds nothing.
local id, stage = ARGV[1], ARGV[2]
local items, tokens, n_max, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local staged, starts = key('stage', stage, 'in'), key('stage', stage, 'starts')
local job = load_job(id)
if not job then return {'gone', 0} end
if redis.call('HGET', key('job', id), 'appended') == stage then return {'added', rings(job.model)} end
local refused = (TERMINAL[job.status] or job.cancel_requested == 1) and 'terminal'
  or redis.call('EXISTS', staged) == 0 and 'lost' or overfull(job.tenant, {items, tokens, bytes}, 7)
if refused then
  redis.call('UNLINK', staged, starts)
  return {refused, 0}
end

for _, start in ipairs(redis.call('ZRANGE', starts, 0, -1)) do
  local first = string.format('%d', job.total + start)
  redis.call('HSET', key('job', id, 'in'), first, redis.call('HGET', staged, start))
  redis.call('ZADD', key('job', id, 'starts'), first, first)
end
redis.call('UNLINK', staged, starts)
redis.call('APPEND', key('job', id, 'st'), string.rep('p', items))

-- What waits was counted at the old cost and weight: take it out of the count, and put all of it back at the new ones.
local waiting, waiting_tokens, waiting_bytes = job.pending, job.pending * job.cost, job.pending * job.weight
job.pending = 0
account(job)
job.cost = math.ceil((waiting_tokens + tokens) / (waiting + items))
job.weight = math.ceil((waiting_bytes + bytes) / (waiting + items))
job.pending, job.total, job.n_max = waiting + items, job.total + items, math.max(job.n_max, n_max)
redis.call('HSET', key('job', id), 'total', job.total, 'cost', job.cost, 'weight', job.weight, 'n_max', job.n_max,
  'appended', stage)
redis.call('HINCRBY', key('job', id), 'bytes', bytes)
finish(job)
return {'added', rings(job.model)}
