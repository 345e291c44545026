-- What waits and what is kept, counted by tenant and in all, and the limits of both.

-- Whether the recount of what tenants keep (tick does it) has been at something of a tenant's jobs or files that was made at
-- `created_at`.
local RECOUNT
local function recounted(tenant, what, created_at)
  RECOUNT = RECOUNT or redis.call('HMGET', key('recount'), 'tenant', 'what', 'score')
  return RECOUNT[1] == tenant and RECOUNT[2] == what and created_at <= tonumber(RECOUNT[3])
end

-- A tenant keeps so many bytes more of jobs, files, presets or studies; `again` of them are of what the recount has been at, whose sum changes, too.
local function count_stored(tenant, what, bytes, again)
  if bytes ~= 0 and redis.call('HINCRBY', key('stored', tenant), what, bytes) == 0 then
    redis.call('HDEL', key('stored', tenant), what)
  end
  if again ~= 0 then redis.call('HINCRBY', key('recount'), 'sum', again) end
end

-- Whether a tenant would keep more than `most` bytes with so many more; 0 for no limit.
local function over_stored(tenant, more, most)
  if most == 0 then return false end
  local kept = redis.call('HMGET', key('stored', tenant), 'jobs', 'files', 'presets', 'studies')
  for i = 1, 4 do more = more + (tonumber(kept[i]) or 0) end
  return more > most
end

-- Keep count of what waits, by tenant and in all, and of what is kept: what admission goes by. Interactive jobs are kept for a minute,
-- which does not count.
local function account(jobs)
  local sums, surplus, kept = {}, 0, {}
  for _, job in ipairs(jobs) do
    local more = job.bytes - job.kept
    job.kept = job.bytes
    if more ~= 0 and job.interactive == 0 then
      local sum = kept[job.tenant] or {0, 0}
      kept[job.tenant] = sum
      sum[1] = sum[1] + more
      if recounted(job.tenant, 'jobs', job.created_at) then sum[2] = sum[2] + more end
    end
    local delta = job.pending - job.queued
    job.queued = job.pending
    if delta ~= 0 then
      surplus = surplus + delta * job.surplus
      for _, whose in ipairs({key('queued', job.tenant), key('queued')}) do
        local sum = sums[whose] or {items = 0, tokens = 0, bytes = 0}
        sums[whose] = sum
        sum.items, sum.tokens, sum.bytes = sum.items + delta, sum.tokens + delta * job.cost, sum.bytes + delta * job.weight
      end
    end
  end
  for whose, sum in pairs(sums) do
    for name, amount in pairs(sum) do redis.call('HINCRBY', whose, name, amount) end
  end
  if surplus ~= 0 then redis.call('HINCRBY', key('queued'), 'surplus', surplus) end
  for tenant, sum in pairs(kept) do count_stored(tenant, 'jobs', sum[1], sum[2]) end
end

-- Which limit so much more would pass: `tenant_full`, `full`, `stored_full` or nil. `more` is items, tokens and bytes; `limits`, 0 for
-- none, has the same three for what the `tenant` may have waiting and for the `total` of all, and the bytes that the tenant may have
-- `stored`.
local function overfull(tenant, more, limits)
  for _, whose in ipairs({{key('queued', tenant), limits.tenant, 'tenant_full'}, {key('queued'), limits.total, 'full'}}) do
    local queued = redis.call('HMGET', whose[1], 'items', 'tokens', 'bytes')
    for i, amount in ipairs(more) do
      local most = whose[2][i]
      if most > 0 and (tonumber(queued[i]) or 0) + amount > most then return whose[3] end
    end
  end
  if over_stored(tenant, more[3], limits.stored) then return 'stored_full' end
end
