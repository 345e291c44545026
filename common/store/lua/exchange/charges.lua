-- What each tenant is charged: its virtual time.

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
