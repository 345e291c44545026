-- Serves a lane: the tenant that is furthest behind, its first job that fits.

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
      if not taken then
        blocked = true
        return
      end
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
