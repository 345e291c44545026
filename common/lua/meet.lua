-- meet(oldest compatible schema, version): a part of this schema uses the store from now on, and none that is older than the first.
-- A newer part's record stays.
local CLEAR = 3 -- the first schema whose lists of what can be claimed are clear where a model's name has a colon
local record = key('version')

-- List what can be claimed anew, under the names of today.
local function list_anew(models)
  for _, model in ipairs(models) do
    for _, lane in ipairs(LANES) do
      redis.call('UNLINK', key(lane, model))
      for _, tenant in ipairs(redis.call('SMEMBERS', key('tenants'))) do redis.call('UNLINK', key(lane, model, tenant)) end
    end
  end
  for _, model in ipairs(models) do
    for _, id in ipairs(redis.call('SMEMBERS', key('unfinished', model))) do
      local job = load_job(id)
      if job and job.listed then
        local lane = job.interactive == 1 and 'interactive' or 'ready'
        list_job(job, lane_key(lane, model), lane_key(lane, model, job.tenant))
      end
    end
  end
end

local function has_colons(models)
  for _, model in ipairs(models) do
    if string.find(model, '[:%%]') then return true end
  end
end

local compatible, stored = tonumber(ARGV[1]), tonumber(redis.call('HGET', record, 'schema')) or 0
if stored < CLEAR then
  local models = redis.call('SMEMBERS', key('models'))
  if has_colons(models) then
    list_anew(models)
    compatible = math.max(compatible, CLEAR)
  end
end
if stored < SCHEMA then redis.call('HSET', record, 'schema', SCHEMA, 'version', ARGV[2]) end
if stored < SCHEMA or compatible > NEEDED then redis.call('HSET', record, 'compatible', math.max(compatible, NEEDED)) end
return 1
