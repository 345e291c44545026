-- tick(lease, max attempts, bytes of finished jobs to keep): what time brings about. Reaps lost workers, expires and purges what is due, counts missing rings.
-- Every worker calls it each second; it does nothing when another did so less than 0.9 s ago. Answers JSON:
--   ran, reaped (incarnations), rings {model: n}, hooked
-- After a pause or a jump of the clock every worker gets a fresh lease first: nobody alive is reaped for the server's absence.
local lease, max_attempts, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local last = tonumber(redis.call('HGET', key('tick'), 'at'))
if last and NOW >= last and NOW - last < 900 then return '{"ran":false}' end
redis.call('HSET', key('tick'), 'at', string.format('%d', NOW))

local reaped = {}
if last and (NOW < last or NOW - last > 2000) then
  for _, incarnation in ipairs(redis.call('ZRANGE', key('workers'), 0, -1)) do
    redis.call('ZADD', key('workers'), NOW + lease, incarnation)
  end
else
  for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', '(' .. string.format('%d', NOW))) do
    hand_back(incarnation, true, max_attempts)
    reaped[#reaped + 1] = incarnation
  end
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

-- Past the bytes to keep, the jobs that finished first go first.
for _ = 1, 100 do
  if keep == 0 or (tonumber(redis.call('GET', key('finished', 'bytes'))) or 0) <= keep then break end
  local oldest = redis.call('ZRANGE', key('finished'), 0, 0)[1]
  local job = oldest and load_job(oldest)
  if not job then break end
  purge(job)
end

local missing = {}
for _, model in ipairs(redis.call('SMEMBERS', key('models'))) do
  local count = rings(model)
  if count > 0 then missing[model] = count end
end
if redis.call('ZCOUNT', key('hooks:due'), '-inf', NOW) > 0 then HOOKED = true end
return cjson.encode({ran = true, reaped = reaped, rings = missing, hooked = HOOKED})
