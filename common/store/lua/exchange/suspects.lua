-- Sets workers aside for items that may have killed theirs.

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
