-- Notes that a part of this schema uses the store from now on. A newer part's record stays.
--[[ arguments
oldest           number: the oldest schema whose parts may go on
version          of the part
]]
-- Answers 1.
local CLEAR = 3 -- the first schema whose lists of what can be claimed are clear where a model's name has a colon
local record = key('version')

-- List what can be claimed anew, under the names of today.
local function list_anew(models)
  local listed = {}
  for _, model in ipairs(models) do
    for _, lane in ipairs(LANES) do redis.call('UNLINK', key(lane, model)) end
    for _, id in ipairs(redis.call('SMEMBERS', key('unfinished', model))) do
      local job = load_job(id)
      if job then
        for _, lane in ipairs(LANES) do redis.call('UNLINK', key(lane, model, job.tenant)) end
        if job.listed then listed[#listed + 1] = job end
      end
    end
  end
  for _, job in ipairs(listed) do
    local lane = job.interactive == 1 and 'interactive' or 'ready'
    list_job(job, lane_key(lane, job.model), lane_key(lane, job.model, job.tenant))
  end
end

local function has_colons(models)
  for _, model in ipairs(models) do
    if string.find(model, '[:%%]') then return true end
  end
end

local compatible, stored = oldest, tonumber(redis.call('HGET', record, 'schema')) or 0
if stored < CLEAR then
  local models = redis.call('SMEMBERS', key('models'))
  if has_colons(models) then
    list_anew(models)
    compatible = math.max(compatible, CLEAR)
  end
end
if stored < SCHEMA then redis.call('HSET', record, 'schema', SCHEMA, 'version', version) end
if stored < SCHEMA or compatible > NEEDED then redis.call('HSET', record, 'compatible', math.max(compatible, NEEDED)) end
return 1
