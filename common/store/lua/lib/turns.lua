-- Tenants take turns, at webhooks and at what is done in the background: to batches, and evaluations.

-- Tenants take turns: a tenant that was served, or has something to be served again, goes to the end of the row.
local function to_the_end(turns, tenant, option)
  local last = redis.call('ZRANGE', turns, -1, -1, 'WITHSCORES')[2]
  local place = (tonumber(last) or 0) + 1
  if option then redis.call('ZADD', turns, option, place, tenant) else redis.call('ZADD', turns, place, tenant) end
end

-- What is done in the background: `family` says to what, `kind` what is done (batches are validated, `due`, and measured, `sizing`;
-- evaluations are `due`). Each tenant has a line of ids by when that is to be done, `family:kind:tenant`, and the tenants have turns,
-- `family:turns:kind`: the tenant that was served longest ago is next.
local function line_up(family, kind, tenant, id, at)
  redis.call('ZADD', key(family, kind, tenant), at, id)
  to_the_end(key(family .. ':turns', kind), tenant, 'NX')
end

-- Answers whether the tenant has nothing left there.
local function leave_line(family, kind, tenant, id)
  local line = key(family, kind, tenant)
  redis.call('ZREM', line, id)
  if redis.call('EXISTS', line) == 1 then return false end
  redis.call('ZREM', key(family .. ':turns', kind), tenant)
  return true
end

-- The next id of the tenant whose turn it is, for `ms`, and the tenant; nil if none is due. Tenants for whom `passed` says so are passed
-- over.
local function take_next(family, kind, ms, passed)
  local turns = key(family .. ':turns', kind)
  for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
    local line = key(family, kind, tenant)
    local id = redis.call('ZRANGEBYSCORE', line, '-inf', NOW, 'LIMIT', 0, 1)[1]
    if id and not (passed and passed(tenant, line)) then
      redis.call('ZADD', line, NOW + ms, id)
      to_the_end(turns, tenant)
      return id, tenant
    end
  end
end

-- Whether anything is due. Those whose turn is next are looked at: more than so many are never being served at once.
local MOST_SERVED = 1000
local function waits(family, kind)
  for _, tenant in ipairs(redis.call('ZRANGE', key(family .. ':turns', kind), 0, MOST_SERVED - 1)) do
    if redis.call('ZCOUNT', key(family, kind, tenant), '-inf', NOW) > 0 then return true end
  end
  return false
end

local function queue_batch(kind, tenant, id, at)
  line_up('batches', kind, tenant, id, at)
end

local function unqueue_batch(kind, tenant, id)
  redis.call('ZREM', key('batches:' .. kind), id)
  if leave_line('batches', kind, tenant, id) and kind == 'due' then redis.call('HDEL', key('batches:busy'), tenant) end
end

-- Parts of earlier versions keep one list for all tenants: what they put there joins the lines.
local MOST_MOVED = 500
local function move_earlier(kind)
  local list = key('batches:' .. kind)
  local found = redis.call('ZRANGE', list, 0, MOST_MOVED - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local tenant = redis.call('HGET', key('batch', found[i]), 'tenant')
    redis.call('ZREM', list, found[i])
    if tenant then queue_batch(kind, tenant, found[i], found[i + 1]) end
  end
end

local function take_batch(kind, ms, passed)
  move_earlier(kind)
  return take_next('batches', kind, ms, passed)
end
