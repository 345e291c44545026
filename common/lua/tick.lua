-- tick(lease, max attempts, bytes of finished jobs to keep): what time brings about. Expires and purges what is due, reaps lost
-- workers, counts missing rings. Every worker calls it each second, and when the next deadline comes; all but the first is done
-- only if nobody did so less than 0.9 s ago. Answers JSON:
--   ran, reaped (incarnations), rings {model: n}, hooked (webhooks are due), rung (a ring for
--   them lies in the queue), next_due (ms until something is)
local lease, max_attempts, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local RECONNECT = 2000 -- ms on top of a lease, at most, to get back to a server whose absence nobody is to blame for
local MODELS = 100 -- looked at in a call, about; the next call goes on with the others
local MOST_PAUSE = 3600000 -- ms without purges after a gap
local reaped, missing = {}, {}

local function ring(model, count)
  if count > 0 then missing[model] = count end
end

local function answer(ran)
  local due = HOOKED or redis.call('ZCOUNT', key('hooks:due'), '-inf', NOW) > 0
  local next = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')[2]
  return cjson.encode({ran = ran, reaped = reaped, rings = missing, hooked = due, rung = hooks_rung(),
    next_due = math.max(1, math.min(60000, (tonumber(next) or math.huge) - NOW))})
end

local noted = redis.call('HMGET', key('tick'), 'at', 'purge_from')
local last, purge_from = tonumber(noted[1]), tonumber(noted[2]) or 0
local absent = last and NOW - last or 0
local gap = absent < 0 or absent > 2000

-- The server's clock may have jumped ahead, which looks as if nobody had ticked for long. Nothing finished is purged before as much
-- time has passed again, an hour at most, in which the clock can be set right. Deadlines do not wait: those that came in a real
-- absence have passed.
if gap then
  purge_from = absent > 0 and NOW + math.min(absent, MOST_PAUSE) or 0
  redis.call('HSET', key('tick'), 'purge_from', string.format('%d', purge_from))
end

-- An interactive job is purged anyway: whoever asked has the answer, and there are many.
local function postponed(entry, what, job)
  if NOW >= purge_from or what == 'expire' or (job and job.interactive == 1) then return false end
  redis.call('ZADD', key('due'), purge_from, entry)
  return true
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', key('due'), '-inf', NOW, 'LIMIT', 0, 500)) do
  local what, id = string.match(entry, '^(%a+):(.+)$')
  local job = load_job(id)
  if not postponed(entry, what, job) then
    redis.call('ZREM', key('due'), entry)
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
end

if last and absent >= 0 and absent < 900 then return answer(false) end
redis.call('HSET', key('tick'), 'at', string.format('%d', NOW))

-- After a pause or a jump of the clock every worker gets a fresh lease: nobody alive is reaped for the server's absence. Where it
-- was short, connections were closed rather than dead, and everybody is back at once.
if gap then
  local extra = absent < 0 and RECONNECT or math.min(RECONNECT, math.floor(absent / 4))
  for _, incarnation in ipairs(redis.call('ZRANGE', key('workers'), 0, -1)) do
    redis.call('ZADD', key('workers'), NOW + lease + extra, incarnation)
  end
else
  for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', '(' .. string.format('%d', NOW))) do
    local count, model = hand_back(incarnation, true, max_attempts)
    if model then ring(model, wake(model, count)) end
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

-- Workers list themselves at each exchange; those of an older release do not.
for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), NOW, '+inf')) do
  local worker = redis.call('HMGET', key('worker', incarnation), 'model', 'room')
  if worker[1] and tonumber(worker[2]) > 0 then redis.call('ZADD', key('room', worker[1]), 'NX', 0, incarnation) end
end

-- Where work waits beside workers with room, a wake was lost.
local models = redis.call('SSCAN', key('models'), redis.call('HGET', key('tick'), 'models') or 0, 'COUNT', MODELS)
redis.call('HSET', key('tick'), 'models', models[1])
for _, model in ipairs(models[2]) do
  local workers = redis.call('ZCARD', key('room', model))
  if workers > 0 and redis.call('EXISTS', lane_key('ready', model), lane_key('interactive', model), key('suspects', model)) > 0 then
    ring(model, wake(model, count_waiting(model, workers), true))
  end
end
return answer(true)
