-- Changes a job that is not over.
--[[ arguments
id               the job
field            paused (0 or 1), priority, deadline (ms), token_budget or error_rate; 0 is none for the last three
value            as it is stored
]]
-- A limit that the job is past already stops it. Answers {outcome, rings}: `done`; `terminal`; `gone`.
local number = tonumber(value)
local job = load_job(id)
if not job then return {'gone', 0} end
if TERMINAL[job.status] then return {'terminal', 0} end
redis.call('HSET', key('job', id), field, value)
if field == 'paused' and number ~= job.paused then
  if number == 1 then redis.call('HSET', key('job', id), 'paused_at', string.format('%d', NOW)) else end_pause(id) end
end
if field == 'deadline' then
  redis.call('ZREM', key('due'), 'expire:' .. id)
  if number > 0 then redis.call('ZADD', key('due'), number, 'expire:' .. id) end
else
  job[field] = number
end
if field == 'paused' and number == 1 then wish(job) end
job.listed = nil -- whatever it was: its place may be another
limit(job)
finish(job)
return {'done', wake(job.model, claimable(job))}
