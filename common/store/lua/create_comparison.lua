-- Queues a comparison, if there is not the same one already.
--[[ arguments
id               the comparison; it follows from the evaluations
tenant           whose jobs are compared
asked            JSON: jobs and evaluations
most_waiting     number: of the tenant, that wait at once
most_kept        number: of the tenant; the oldest goes
rest             the jobs, the baseline first
]]
-- Answers {status, 1 where it was made now}; {`full`, 0} where too many wait, {`gone`, 0} where a job is gone.
local record, line, kept = key('comparison', id), key('comparisons:due', tenant), key('comparisons:kept', tenant)
local status = redis.call('HGET', record, 'status')
if status then return {status, 0} end
for i = REST, #ARGV do
  if redis.call('EXISTS', key('job', ARGV[i])) == 0 then return {'gone', 0} end
end
if redis.call('ZCARD', line) >= most_waiting then return {'full', 0} end
redis.call('HSET', record, 'tenant', tenant, 'job', ARGV[REST], 'asked', asked, 'status', 'queued', 'tries', 0)
redis.call('PEXPIRE', record, COMPARISON_KEPT)
for i = REST, #ARGV do
  redis.call('SADD', key('job', ARGV[i], 'comparisons'), id)
  redis.call('PEXPIRE', key('job', ARGV[i], 'comparisons'), COMPARISON_KEPT)
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', kept, '-inf', NOW - COMPARISON_KEPT)) do redis.call('ZREM', kept, old) end
for _, old in ipairs(redis.call('ZRANGE', kept, 0, -most_kept)) do forget_comparison(old) end
redis.call('ZADD', kept, NOW, id)
line_up('comparisons', 'due', tenant, id, NOW)
for _, each in ipairs({kept, line, key('comparisons:turns', 'due')}) do redis.call('PEXPIRE', each, COMPARISON_KEPT) end
return {'queued', 1}
