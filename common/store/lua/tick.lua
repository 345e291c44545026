-- What time brings about: expires and purges what is due, reaps lost workers, counts missing rings.
--[[ arguments
lease            number: of workers, in ms
max_attempts     number: charged so often, an item fails
keep             number: bytes of finished jobs to keep, 0 for all
]]
-- Every worker calls it each second, and when the next deadline comes; all but the first is done only if no worker did so less than
-- 0.9 s ago. Answers JSON: ran, reaped (incarnations), rings {model: n}, hooked (webhooks are due), rung (a ring for them lies in the
-- queue), evaluate (an evaluator should be rung), next_due (ms until something is).
local RECONNECT = 2000 -- ms on top of a lease, at most, for workers to reconnect to a server that was away
local MODELS = 100 -- looked at in a call, about; the next call goes on with the others
local AWAITED_PAUSE = 60000 -- ms until it is looked again whether a job's rows are still waited for
local MOST_PAUSE = 3600000 -- ms without purges after a gap
local reaped, missing = {}, {}

local function ring(model, count)
  if count > 0 then missing[model] = count end
end

local function answer(ran)
  local due = HOOKED or redis.call('EXISTS', key('hooks:turns')) == 1 or redis.call('ZCOUNT', key('hooks:due'), '-inf', NOW) > 0
  local next = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')[2]
  return cjson.encode({ran = ran, reaped = reaped, rings = missing, hooked = due, rung = hooks_rung(),
    evaluate = (waits('evals', 'due') or waits('comparisons', 'due')) and not evaluators_rung(),
    next_due = math.max(1, math.min(60000, (tonumber(next) or math.huge) - NOW))})
end

local noted = redis.call('HMGET', key('tick'), 'at', 'purge_from')
local last, purge_from = tonumber(noted[1]), tonumber(noted[2]) or 0
local absent = last and NOW - last or 0
local gap = absent < 0 or absent > 2000

-- The server's clock may have jumped ahead, which looks as if no worker had ticked for long. Nothing finished is purged before as much
-- time has passed again, an hour at most, in which the clock can be set right. Deadlines do not wait: those that came in a real
-- absence have passed.
if gap then
  purge_from = absent > 0 and NOW + math.min(absent, MOST_PAUSE) or 0
  redis.call('HSET', key('tick'), 'purge_from', string.format('%d', purge_from))
end

-- An interactive job is purged anyway: its client has the answer, and there are many such jobs.
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
    elseif what == 'file' then
      forget_file(id)
    elseif job and what == 'purge' and job.awaited == 1 then
      redis.call('ZADD', key('due'), NOW + AWAITED_PAUSE, entry)
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

-- After a pause or a jump of the clock every worker gets a fresh lease: no live worker is reaped for the server's absence. Where it
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

-- Past the bytes to keep, the jobs that finished first go first, but for those whose rows are waited for.
local spared = 0
for _ = 1, 100 do
  if keep == 0 or (tonumber(redis.call('GET', key('finished', 'bytes'))) or 0) <= keep then break end
  local oldest = redis.call('ZRANGE', key('finished'), spared, spared)[1]
  local job = oldest and load_job(oldest)
  if not job then break end
  if job.awaited == 1 then spared = spared + 1 else purge(job) end
end

-- What tenants keep is counted anew, some of it in each call: older parts do not count, and a file may go by itself. Each tenant's jobs,
-- then its files, in the order in which they were made; who changes what was counted here changes the sum, too (`count_stored`).
local RECOUNTED = 1000 -- jobs and files looked at in a call
local RECOUNT_PAUSE = 600000 -- ms from the beginning of a round to the next

-- The names of all tenants in order. Read at most once in a call: each call asks for hundreds of them, and there may be thousands.
local TENANTS
local function tenant_at(nth)
  if not TENANTS then
    TENANTS = redis.call('SMEMBERS', key('tenants')) -- not SORT, which servers count among the dangerous commands
    table.sort(TENANTS)
  end
  return TENANTS[nth]
end

-- The next tenant of a round, or nil when it is over.
local function next_tenant()
  local noted = redis.call('HMGET', key('recount'), 'nth', 'began')
  local nth, began = (tonumber(noted[1]) or 0) + 1, tonumber(noted[2]) or 0
  if nth == 1 then
    if NOW >= began and NOW - began < RECOUNT_PAUSE then return nil end
    redis.call('HSET', key('recount'), 'began', string.format('%d', NOW))
  end
  local tenant = tenant_at(nth)
  redis.call('HSET', key('recount'), 'nth', tenant and nth or 0)
  return tenant
end

-- Names and scores of up to `count` entries of a list from behind a score on, but all that have the last score.
local function behind(list, score, count)
  local page = redis.call('ZRANGEBYSCORE', list, '(' .. score, '+inf', 'WITHSCORES', 'LIMIT', 0, count)
  local last = page[#page]
  if #page < 2 * count then return page, true end
  while page[#page] == last do page[#page], page[#page - 1] = nil, nil end
  for _, part in ipairs(redis.call('ZRANGEBYSCORE', list, last, last, 'WITHSCORES')) do page[#page + 1] = part end
  return page, false
end

local function bytes_of(what, id)
  if what == 'jobs' then return tonumber(redis.call('HGET', key('job', id), 'bytes')) or 0 end
  local about = redis.call('HMGET', key('file', id), 'stored', 'bytes')
  return tonumber(about[1] or about[2]) or 0
end

local function recount()
  local done = 0
  while done < RECOUNTED do
    local state = redis.call('HMGET', key('recount'), 'tenant', 'what', 'score', 'sum')
    local tenant, what, score, sum = state[1], state[2], state[3], tonumber(state[4])
    if not tenant then
      tenant, what, score, sum = next_tenant(), 'jobs', '-1', 0
      if not tenant then return end
    end
    local page, over = behind(key('tenant', tenant, what), score, RECOUNTED - done)
    for i = 1, #page, 2 do sum = sum + bytes_of(what, page[i]) end
    done, score = done + #page / 2 + 1, page[#page] or score
    if over then redis.call('HDEL', key('stored', tenant), what) end
    if over and sum > 0 then redis.call('HSET', key('stored', tenant), what, string.format('%d', sum)) end
    if over and what == 'files' then
      redis.call('HDEL', key('recount'), 'tenant')
    else
      if over then what, score, sum = 'files', '-1', 0 end
      redis.call('HSET', key('recount'), 'tenant', tenant, 'what', what, 'score', score, 'sum', string.format('%d', sum))
    end
  end
end
recount()
sample_history()

-- Parts of schema 2 do not count this: where nothing waits, it is nothing.
if (tonumber(redis.call('HGET', key('queued'), 'items')) or 0) <= 0 then redis.call('HDEL', key('queued'), 'surplus') end

-- Parts up to schema 3 leave what is beside the jobs that they remove.
local BESIDE = 100 -- jobs looked at in a call, about
local beside = redis.call('SSCAN', key('beside'), redis.call('HGET', key('tick'), 'beside') or 0, 'COUNT', BESIDE)
redis.call('HSET', key('tick'), 'beside', beside[1])
for _, id in ipairs(beside[2]) do
  if redis.call('EXISTS', key('job', id)) == 0 then forget_beside(id) end
end

-- Parts that know no evaluations leave those of the jobs that they remove.
local evaluated = redis.call('SSCAN', key('evaluated'), redis.call('HGET', key('tick'), 'evaluated') or 0, 'COUNT', BESIDE)
redis.call('HSET', key('tick'), 'evaluated', evaluated[1])
for _, id in ipairs(evaluated[2]) do
  if redis.call('EXISTS', key('job', id)) == 0 then forget_evaluations(id) end
end

-- Workers list themselves at each exchange; those of an older release do not.
for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), NOW, '+inf')) do
  local worker = redis.call('HMGET', key('worker', incarnation), 'model', 'room', 'drained')
  if worker[1] and tonumber(worker[2]) > 0 and not worker[3] then redis.call('ZADD', key('room', worker[1]), 'NX', 0, incarnation) end
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
