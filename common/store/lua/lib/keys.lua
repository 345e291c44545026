-- The names of keys, the refusal of parts that are too old, and the clock.
-- docs/redis-keys.md says what each key holds. Times are milliseconds of this server's clock.

local function key(name, owner, part, rest)
  if rest then return 'pm:' .. name .. ':' .. owner .. ':' .. part .. ':' .. rest end
  if part then return 'pm:' .. name .. ':' .. owner .. ':' .. part end
  return owner and 'pm:' .. name .. ':' .. owner or 'pm:' .. name
end

-- The lists of a lane: of a model's tenants, and of a tenant's jobs. A colon in the model's name is written %3A, so that `x:t` shares
-- no key with tenant t of model x.
local LANE_NAMES = {}
local function lane_key(lane, model, tenant)
  local name = LANE_NAMES[model]
  if not name then
    name = string.gsub(model, '[:%%]', function(byte) return string.format('%%%02X', string.byte(byte)) end)
    LANE_NAMES[model] = name
  end
  return key(lane, name, tenant)
end

-- A part that is older than the store allows must not touch it (`common/store/version.py`).
local NEEDED = tonumber(redis.call('HGET', key('version'), 'compatible')) or 0
if NEEDED == 1000000 then return redis.error_reply('PMRESTORE a backup is restored here') end
if NEEDED > SCHEMA then
  return redis.error_reply('PMVERSION this store takes parts from schema ' .. NEEDED .. ' on; this one has ' .. SCHEMA)
end

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local NOW = clock()
local HOOKED = false -- an event was written
local TERMINAL = {completed = true, cancelled = true, expired = true}

-- Run a command for a list of values after its first arguments, as many at a time as the stack takes. Answers what it answered, in
-- one list.
local MOST_VALUES = 6000 -- even: they may be pairs
local function call_with(values, command, name, option)
  local answers = {}
  for first = 1, #values, MOST_VALUES do
    local last = math.min(first + MOST_VALUES - 1, #values)
    local answer
    if option then answer = redis.call(command, name, option, unpack(values, first, last))
    else answer = redis.call(command, name, unpack(values, first, last)) end
    if #values == last and first == 1 then return answer end
    for i = 1, type(answer) == 'table' and #answer or 0 do answers[first + i - 1] = answer[i] end
  end
  return answers
end
