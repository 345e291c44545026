-- tick(lease, max attempts, bytes of finished jobs to keep): what time brings about. Expires and purges what is due, reaps lost
-- workers, counts missing rings. Every worker calls it each second, and when the next deadline comes; all but the first is done
-- only if nobody did so less than 0.9 s ago. Answers JSON:
--   ran, reaped (incarnations), rings {model: n}, hooked, next_due (ms until something is)
local lease, max_attempts, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local RECONNECT = 2000 -- ms on top of a lease, at most, to get back to a server whose absence nobody is to blame for
local reaped, missing = {}, {}

local function answer(ran)
  if redis.call('ZCOUNT', key('hooks:due'), '-inf', NOW) > 0 then HOOKED = true end
  local next = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')[2]
  return cjson.encode({ran = ran, reaped = reaped, rings = missing, hooked = HOOKED,
    next_due = math.max(1, math.min(60000, (tonumber(next) or math.huge) - NOW))})
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', key('due'), '-inf', NOW, 'LIMIT', 0, 500)) do
  redis.call('ZREM', key('due'), entry)
  local what, id = string.match(entry, '^(%a+):(.+)$')
  local job = load_job(id)
  if what == 'batch' then
    forget_batch(id)
  elseif job and what == 'purge' then
    purge(job)
  elseif job and not TERMINAL[job.status] then
    redis.call('HSET', key('job', id), 'deadline_passed', 1)
    job.deadline_passed = 1
    wish(job)
    finish(job)
  end
end

local last = tonumber(redis.call('HGET', key('tick'), 'at'))
if last and NOW >= last and NOW - last < 900 then return answer(false) end
redis.call('HSET', key('tick'), 'at', string.format('%d', NOW))

-- After a pause or a jump of the clock every worker gets a fresh lease: nobody alive is reaped for the server's absence. Where it
-- was short, connections were closed rather than dead, and everybody is back at once.
local absent = last and NOW - last or 0
if absent < 0 or absent > 2000 then
  local extra = absent < 0 and RECONNECT or math.min(RECONNECT, math.floor(absent / 4))
  for _, incarnation in ipairs(redis.call('ZRANGE', key('workers'), 0, -1)) do
    redis.call('ZADD', key('workers'), NOW + lease + extra, incarnation)
  end
else
  for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', '(' .. string.format('%d', NOW))) do
    hand_back(incarnation, true, max_attempts)
    reaped[#reaped + 1] = incarnation
  end
end

-- Past the bytes to keep, the jobs that finished first go first.
for _ = 1, 100 do
  if keep == 0 or (tonumber(redis.call('GET', key('finished', 'bytes'))) or 0) <= keep then break end
  local oldest = redis.call('ZRANGE', key('finished'), 0, 0)[1]
  local job = oldest and load_job(oldest)
  if not job then break end
  purge(job)
end

for _, model in ipairs(redis.call('SMEMBERS', key('models'))) do
  local count = rings(model)
  if count > 0 then missing[model] = count end
end
return answer(true)
