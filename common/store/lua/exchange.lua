-- Hands finished results in and takes items for up to `room` slots.
--[[ arguments
incarnation      the worker
call             the number of this exchange
room             number: free slots
kept             number: the last so many of them are for interactive jobs only
rest             job, index, attempt, state, prompt tokens, completion tokens, blob, ...: of each result
]]
-- A result's state may be `pending`: the item is handed back, uncharged, with a blob of how far it got.
-- Answers JSON:
--   lost     true where this incarnation has no lease any more, or the server forgot calls it made: nothing was taken, it must start
--            over under a new name
--   refused  [job, index] of results that were not this incarnation's to write
--   runs     [job, first index, count, attempt, first index of the chunk they lie in, true if it ran before and got somewhere]
--   now      this server's clock
--   hooked   true where the webhook worker should be rung
-- The answer is kept under the call number: a client that sends a call again gets the same answer and changes nothing.
local workerkey, heldkey, replay = key('worker', incarnation), key('held', incarnation), key('replay', incarnation)

if not redis.call('ZSCORE', key('workers'), incarnation) then return '{"lost":true}' end
local worker = redis.call('HMGET', workerkey, 'call', 'model', 'slots', 'cohort', 'passed')
if worker[1] == call then
  local answer = redis.call('GET', replay)
  if answer then return answer end
end
-- The server counts fewer calls than the worker made: it lost the tail of its log. What it thinks the worker holds goes back.
if tonumber(call) ~= (tonumber(worker[1]) or 0) + 1 then
  hand_back(incarnation, false, 0)
  return '{"lost":true}'
end
local model, slots = worker[2], tonumber(worker[3])

-- Others that were woken a moment ago are on their way. Work that is not enough for all of them and this one is shared, and what
-- was submitted for an idle worker is not taken by a busy one that happens to come first.
local HEED = 100 -- ms; who does not come by then is not waited for
local called = redis.call('ZREM', key('woken', model), incarnation)
local others = redis.call('ZCOUNT', key('woken', model), NOW - HEED, '+inf')
local fair = math.huge -- items this exchange may take

local clock_at -- virtual time of the last pick

local jobs, refused, runs = {}, {}, {}
local function job_of(id)
  if jobs[id] == nil then jobs[id] = load_job(id) or false end
  return jobs[id]
end

local touched = {} -- jobs that this exchange changes
local function touch(job)
  if not job.touched then touched[#touched + 1] = job end
  job.touched = true
end

-- Virtual times of the tenants that this exchange charges, as they are kept and where they are ranked: read and written once.
local times, charged_tenants = {}, {}

local function read_times(jobs)
  local tenants, known = {}, {}
  for _, job in ipairs(jobs) do
    if not known[job.tenant] then
      known[job.tenant] = true
      tenants[#tenants + 1] = job.tenant
    end
  end
  local lists = {call_with(tenants, 'HMGET', key('vtime', model))}
  for _, lane in ipairs(LANES) do lists[#lists + 1] = call_with(tenants, 'ZMSCORE', lane_key(lane, model)) end
  for i, tenant in ipairs(tenants) do
    for _, list in ipairs(lists) do times[tenant] = math.max(times[tenant] or 0, tonumber(list[i]) or 0) end
  end
end

-- Add tokens to a tenant's virtual time.
local function charge(job, tokens)
  if not times[job.tenant] then read_times({job}) end
  times[job.tenant] = math.max(times[job.tenant] + tokens, 0)
  charged_tenants[job.tenant] = true
end

local function write_times()
  local kept, ranked = {}, {}
  for tenant in pairs(charged_tenants) do
    kept[#kept + 1], kept[#kept + 2] = tenant, times[tenant]
    ranked[#ranked + 1], ranked[#ranked + 2] = times[tenant], tenant
  end
  call_with(kept, 'HSET', key('vtime', model))
  for _, lane in ipairs(LANES) do call_with(ranked, 'ZADD', lane_key(lane, model), 'XX') end
  charged_tenants = {}
end

-- Results in.
local function hand_in(job, index, state, prompt_tokens, completion_tokens, blob)
  job.out = job.out or {}
  job.out[#job.out + 1], job.out[#job.out + 2] = index, blob
  job.order = (job.order or '') .. struct.pack('>I4', index)
  set_states(job.id, index, 1, string.sub(state, 1, 1))
  if job.streamed == 1 then drop_stream(job.id, index) end
  job.running, job[state] = job.running - 1, job[state] + 1
  job.prompt_tokens, job.completion_tokens = job.prompt_tokens + prompt_tokens, job.completion_tokens + completion_tokens
  job.bytes = job.bytes + #blob
  job.correction = (job.correction or 0) + prompt_tokens + completion_tokens - job.cost
end

local function take_back(job, index, blob)
  if blob ~= '' then redis.call('HSET', key('job', job.id, 'from'), index, blob) end
  requeue(job, index, (used(job.id, index)))
  job.correction = (job.correction or 0) - job.cost
end

local names = {} -- of the results' items in what the incarnation holds
for i = REST, #ARGV, 7 do names[#names + 1] = ARGV[i] .. ' ' .. ARGV[i + 1] end
local attempts, done = call_with(names, 'HMGET', heldkey), {}
for i, name in ipairs(names) do
  local at = REST + 7 * (i - 1) -- where the result begins
  local id, index, state, blob = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 6]
  local job = job_of(id)
  if attempts[i] ~= ARGV[at + 2] or done[name] or not job then
    refused[#refused + 1] = {id, tonumber(index)}
  else
    touch(job)
    if state == 'pending' then take_back(job, index, blob)
    else hand_in(job, index, state, tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), blob) end
  end
  done[name] = true
end
call_with(names, 'HDEL', heldkey)

read_times(touched)
for _, job in ipairs(touched) do
  if job.out then
    call_with(job.out, 'HSET', key('job', job.id, 'out'))
    redis.call('APPEND', key('job', job.id, 'order'), job.order)
    limit(job)
  end
  charge(job, job.correction)
end
write_times()
refresh_ready(touched) -- what was handed back can be picked below, what was just stopped can not

-- Items out.
local LOOKS = 256 -- jobs or items that are searched at a time for those that fit

local claims = {} -- what the incarnation holds from now on: slot, attempt, ...

-- The chunk an item lies in: its first index, and that of the next.
local function chunk_of(job, index)
  if job.total == 1 then return 0, 1 end
  if not job.chunk or index < job.chunk or index >= job.chunk_end then
    local starts = key('job', job.id, 'starts')
    job.chunk = tonumber(redis.call('ZREVRANGEBYSCORE', starts, index, '-inf', 'LIMIT', 0, 1)[1])
    job.chunk_end = tonumber(redis.call('ZRANGEBYSCORE', starts, '(' .. index, '+inf', 'LIMIT', 0, 1)[1]) or job.total
  end
  return job.chunk, job.chunk_end
end

-- Give out items of one chunk; a run that goes on where the job's last one ended is one with it.
local function take(job, first, count, attempt, resumed)
  touch(job)
  for index = first, first + count - 1 do
    claims[#claims + 1], claims[#claims + 2] = job.id .. ' ' .. index, attempt
  end
  job.pending, job.running = job.pending - count, job.running + count
  local chunk, last = chunk_of(job, first), job.run
  if last and not resumed and not last[6] and last[2] + last[3] == first and last[4] == attempt and last[5] == chunk then
    last[3] = last[3] + count
  else
    job.run = {job.id, first, count, attempt, chunk, resumed}
    runs[#runs + 1] = job.run
  end
end

local function write_claims()
  call_with(claims, 'HSET', heldkey)
  for _, run in ipairs(runs) do set_states(run[1], run[2], run[3], 'r') end
end

-- How many slots an item takes.
local function need(job, index)
  if job.n_min == job.n_max then return job.n_max end
  return string.byte(redis.call('GETRANGE', key('job', job.id, 'needs'), index, index)) or job.n_max
end

-- Of `left` slots, those that an item of `n` may use: one that would not fit beside the kept ones may use those, too.
local function free(n, left, keep)
  return n > slots - keep and left or left - keep
end

-- Items that wait again, with `least` to `most` attempts charged: `count` at most, into `left` slots. What no slot of this worker
-- is enough for is passed over. Answers how many it took, the slots they take, and whether one waits for more to be free.
local function take_retries(job, count, left, keep, least, most)
  local taken, used = 0, 0
  local indices = redis.call('ZRANGEBYSCORE', key('job', job.id, 'retry'), least * CHARGED, '(' .. (most + 1) * CHARGED,
    'LIMIT', 0, LOOKS)
  for _, index in ipairs(indices) do
    local n = need(job, index)
    if taken == count then break end
    if n <= slots then
      if n > free(n, left - used, keep) then return taken, used, true end
      local charged = math.floor(redis.call('ZSCORE', key('job', job.id, 'retry'), index) / CHARGED)
      redis.call('ZREM', key('job', job.id, 'retry'), index)
      take(job, tonumber(index), 1, charged + 1, redis.call('HEXISTS', key('job', job.id, 'from'), index) == 1)
      taken, used = taken + 1, used + n
    end
  end
  return taken, used, false
end

-- Never-claimed items, a run for each chunk: whoever reads a chunk gets all it needs of it.
local function take_fresh(job, count)
  while count > 0 do
    local _, chunk_end = chunk_of(job, job.cursor)
    local run = math.min(count, chunk_end - job.cursor)
    take(job, job.cursor, run, 1, false)
    job.cursor, count = job.cursor + run, count - run
  end
end

-- Never-claimed items that need more slots than this worker has wait among those that wait again, so that it gets to the others.
local function pass_over(job)
  local needs = redis.call('GETRANGE', key('job', job.id, 'needs'), job.cursor, job.cursor + LOOKS - 1)
  local count = 0
  while count < #needs and string.byte(needs, count + 1) > slots do
    redis.call('ZADD', key('job', job.id, 'retry'), job.cursor + count, job.cursor + count)
    count = count + 1
  end
  job.cursor = job.cursor + count
  if count > 0 then touch(job) end
end

-- How many of the never-claimed items fit into `left` slots, `most` at most, and how many slots they take.
local function fitting(job, most, left, keep)
  if job.n_min == job.n_max then
    local count = math.min(most, math.max(0, math.floor(free(job.n_max, left, keep) / job.n_max)))
    return count, count * job.n_max
  end
  local count, used = 0, 0
  for _, n in ipairs({string.byte(redis.call('GETRANGE', key('job', job.id, 'needs'), job.cursor, job.cursor + most - 1), 1, -1)}) do
    if n > slots or n > free(n, left - used, keep) then break end
    count, used = count + 1, used + n
  end
  return count, used
end

local function start(job)
  if job.status ~= 'queued' then return end
  job.status = 'running'
  emit(job, 'job.started')
end

-- Items whose worker died are suspects: one of them may have killed it. They run in cohorts on workers set aside for them: second
-- attempts, of whatever jobs, on at most sqrt(slots) together, a third attempt alone, so that the guilty item is found and its
-- neighbours are not. A quarter of the model's workers are set aside at most, and one at least; the others go on with the rest.
-- The only worker of a model goes on with the rest by itself, for as long as suspects have kept it from that.
local SHARE = 4
local SLICE = 1000 -- ms after which an only worker begins no further cohort before the rest had its turn

-- What this worker does about suspects, and since when: it `waits` to be idle, runs `second` attempts or a `third`; or it `rests`
-- from them until then.
local doing, since = string.match(worker[4] or '', '^(%a+) (%d+)$')
since = tonumber(since)
local held = redis.call('HLEN', heldkey)
local runs_suspects = held > 0 and (doing == 'second' or doing == 'third')

-- Whether one more worker may be set aside, and whether this is the only one. Who is idle goes before those that wait to be.
local function share()
  local live, aside = 0, 0
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), NOW, '+inf')) do
    local about = redis.call('HMGET', key('worker', other), 'model', 'cohort')
    if about[1] == model then
      local does = other ~= incarnation and string.match(about[2] or '', '^%a+')
      live = live + 1
      if does == 'second' or does == 'third' or does == 'waits' and held > 0 then aside = aside + 1 end
    end
  end
  return aside < math.max(1, math.floor(live / SHARE)), live <= 1
end

-- Up to `most` jobs of a rank whose suspects may fit on this worker.
local function suspected(rank, most)
  local fit = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('suspects', model), rank * RANK, '(' .. string.format('%d', (rank + 1) * RANK),
    'LIMIT', 0, LOOKS)) do
    local n = redis.call('HMGET', key('job', id), 'n_min', 'n_max')
    if tonumber(n[1] or n[2]) <= slots then fit[#fit + 1] = id end
    if #fit == most then break end
  end
  return fit
end

-- Take `count` suspects at most of jobs of this rank, into `left` slots; answers how many slots they take.
local function take_suspects(rank, count, left)
  local least, most, used = rank % 2 == 0 and 1 or 2, rank % 2 == 0 and 1 or 100, 0
  for _, id in ipairs(suspected(rank, count)) do
    local job = job_of(id)
    local taken, more = take_retries(job, count, left - used, 0, least, most)
    if taken > 0 then
      count, used = count - taken, used + more
      start(job)
      charge(job, taken * job.cost)
      refresh_ready({job})
    end
    if count < 1 or used >= left then break end
  end
  return used
end

-- Second attempts for up to `left` slots of a cohort.
local function fill_cohort(left)
  for rank = 0, 2, 2 do
    if left > 0 then left = left - take_suspects(rank, left, left) end
  end
end

local COHORT = math.floor(math.sqrt(slots)) -- slots

-- A cohort for an idle worker: what comes first in the order of ranks, an item whatever it needs, and more second attempts with one.
local function begin_cohort()
  for rank = 0, 3 do
    local used = take_suspects(rank, 1, room)
    if used > 0 and rank % 2 == 1 then return 'third' end
    if used > 0 then
      fill_cohort(math.min(COHORT, room) - used)
      return 'second'
    end
  end
end

-- Answers whether this worker is set aside: it takes suspects or nothing.
local function see_to_suspects()
  if redis.call('EXISTS', key('suspects', model)) == 0 or room < 1 or doing == 'third' and runs_suspects then
    if not runs_suspects and doing ~= 'rests' then doing = nil end
    return runs_suspects
  end
  local allowed, alone = share()
  local begun = (doing == 'waits' or doing == 'second' or doing == 'third') and since or NOW
  local others = alone and redis.call('EXISTS', lane_key('interactive', model), lane_key('ready', model)) > 0 -- that nobody else runs
  if others and doing == 'rests' and NOW < since then return false end
  local over = others and doing ~= 'waits' and NOW - begun > SLICE
  if runs_suspects then
    if not over then fill_cohort(math.min(COHORT - math.max(held, slots - room), room)) end
    return true
  end
  if over then
    doing, since = 'rests', 2 * NOW - begun
    return false
  end
  doing, since = nil, begun
  if allowed and held == 0 then
    doing = begin_cohort()
  elseif allowed and #suspected(0, 1) + #suspected(1, 1) + #suspected(2, 1) + #suspected(3, 1) > 0 then
    doing = 'waits'
  end
  return doing ~= nil
end

-- Take at most `most` items of this job, none into the last `keep` slots that fits without. Answers how many and how many slots they
-- take, or nil to wait with all else until this worker has the room.
local function claim(job, most, keep)
  if job.n_min > slots then return 0, 0 end
  local taken, used, blocked = 0, 0, false
  most = math.min(most, job.pending - suspects(job))
  if job.pending > job.total - job.cursor then taken, used, blocked = take_retries(job, most, room, keep, 0, 0) end
  if not blocked and taken < most and job.cursor < job.total then
    if job.n_max > slots then pass_over(job) end
    local count, more = fitting(job, math.min(most - taken, job.total - job.cursor), room - used, keep)
    blocked = count == 0 and job.cursor < job.total and need(job, job.cursor) <= slots
    take_fresh(job, count)
    taken, used = taken + count, used + more
  end
  if taken == 0 and blocked then return nil end -- wait for room rather than pass it over for ever
  if taken == 0 and job.suspected == 0 and redis.call('ZCOUNT', key('job', job.id, 'retry'), CHARGED, '+inf') > 0 then
    job.suspected = 1 -- a part of schema 1 handed them back, and listed them nowhere
    redis.call('HSET', key('job', job.id), 'suspected', 1)
    refresh_ready({job})
  end
  return taken, used
end

-- Jobs of which no item fits on this worker are passed over, so many in a call; the next call goes on behind them. Where it goes on:
-- for each lane, how many tenants have nothing for this worker, and how many jobs of the next one.
local PASSED = 1000
local looks = PASSED
local places = {interactive = {0, 0}, ready = {0, 0}}
for lane, tenants, jobs in string.gmatch(worker[5] or '', '(%a+) (%d+) (%d+)') do
  places[lane] = {tonumber(tenants), tonumber(jobs)}
end

-- A heap of {virtual time, tenant, ...}, the furthest behind on top, equals by name.
local function before(a, b)
  return a[1] < b[1] or a[1] == b[1] and a[2] < b[2]
end

local function push(heap, entry)
  local i = #heap + 1
  while i > 1 and before(entry, heap[math.floor(i / 2)]) do
    heap[i], i = heap[math.floor(i / 2)], math.floor(i / 2)
  end
  heap[i] = entry
end

local function pop(heap)
  local top, last = heap[1], table.remove(heap)
  local i, child = 1, 2
  while child <= #heap do
    if child < #heap and before(heap[child + 1], heap[child]) then child = child + 1 end
    if not before(heap[child], last) then break end
    heap[i], i, child = heap[child], child, 2 * child
  end
  if #heap > 0 then heap[i] = last end
  return top
end

local PAGE = 32 -- tenants read at a time
local JOBS = 8 -- jobs of a tenant read at a time

-- The tenants of a lane as this exchange serves them: a function that answers the one furthest behind and whether it is alone, and
-- one that takes it back. They are read as far as is needed. What is known of a tenant: the jobs of its line that were read last,
-- the place of the next among them, how many were read, and how many are passed over.
local function queue_of(lane)
  local ready, heap, more = lane_key(lane, model), {}, true
  local read, from = places[lane][1], places[lane][2]
  local last -- that was read
  local function furthest_behind()
    while more and (#heap == 0 or before(last, heap[1])) do
      local page = redis.call('ZRANGE', ready, read, read + PAGE - 1, 'WITHSCORES')
      for i = 1, #page, 2 do
        last = {tonumber(page[i + 1]), page[i]}
        times[page[i]] = math.max(times[page[i]] or 0, last[1])
        push(heap, {times[page[i]], page[i], jobs = {}, next = 1, read = from, passed = from})
        from = 0
      end
      read, more = read + #page / 2, #page == 2 * PAGE
    end
    return #heap > 0 and pop(heap) or nil, #heap == 0 and not more
  end
  return furthest_behind, function(tenant)
    tenant[1] = times[tenant[2]]
    push(heap, tenant)
  end
end

local function pass(tenant)
  tenant.next, tenant.passed, looks = tenant.next + 1, tenant.passed + 1, looks - 1
end

-- Whether something of a job may fit: asked before it is loaded, once others were passed over.
local function fits(id)
  if looks == PASSED or jobs[id] then return not jobs[id] or jobs[id].n_min <= slots end
  local n = redis.call('HMGET', key('job', id), 'n_min', 'n_max')
  return tonumber(n[1] or n[2] or 1) <= slots
end

-- The first job of a tenant's line of which something may fit and waits; nil if there is none, or none among those it may look at.
local function first_job(lane, tenant)
  while true do
    local id = tenant.jobs[tenant.next]
    if not id then
      tenant.jobs = redis.call('ZRANGE', lane_key(lane, model, tenant[2]), tenant.read, tenant.read + JOBS - 1)
      tenant.read, tenant.next = tenant.read + #tenant.jobs, 1
      id = tenant.jobs[1]
    end
    local job = id and fits(id) and job_of(id)
    if job and job.pending > suspects(job) then return job end
    if not id or not job and looks == 0 then return nil end
    if job then tenant.next = tenant.next + 1 else pass(tenant) end -- it is empty by now, or too large
  end
end

-- Serve one lane: the tenant that is furthest behind, its first job; those that have nothing for this worker are passed over.
-- With several tenants waiting, one item a pick keeps them level; alone, a tenant gets contiguous runs.
local function serve(lane, keep)
  local furthest_behind, put_back = queue_of(lane)
  local without = places[lane][1] -- tenants that have nothing for this worker
  places[lane] = {0, 0}
  while room > keep and fair > 0 do
    local tenant, alone = furthest_behind()
    if not tenant then return end
    local job, taken, used = first_job(lane, tenant), 0, 0
    if job then
      taken, used = claim(job, math.min(fair, alone and 256 or 1), keep)
      if not taken then return end
    end
    if taken > 0 then
      clock_at = tenant[1]
      room, fair = room - used, fair - taken
      start(job)
      charge(job, taken * job.cost)
      put_back(tenant)
    elseif looks == 0 then
      places[lane] = {without, tenant.passed}
      return
    elseif job then
      pass(tenant)
      put_back(tenant)
    elseif tenant.passed > 0 then
      without = without + 1
    end
  end
end

if see_to_suspects() then room = 0 end
if others > 0 and room > 0 then
  local found = count_waiting(model, room * (others + 1))
  fair = called == 1 and math.ceil(found / (others + 1)) or found - others
end
if room > 0 then serve('interactive', 0) end
if room > 0 then serve('ready', kept) end

write_claims()
write_times()
if clock_at then redis.call('SET', key('vclock', model), clock_at) end
finish_all(touched)

local answer = cjson.encode({refused = refused, runs = runs, now = NOW, hooked = hooked()})
redis.call('HSET', workerkey, 'call', call, 'room', math.max(room, 0), 'cohort',
  doing and string.format('%s %d', doing, since) or '', 'passed', string.format('interactive %d %d ready %d %d',
    places.interactive[1], places.interactive[2], places.ready[1], places.ready[2]))
list_worker(model, incarnation, room, slots)
redis.call('SET', replay, answer)
return answer
