-- Tenants take turns, at webhooks and at what is done to batches in the background.

-- Tenants take turns: a tenant that was served, or has something to be served again, goes to the end of the row.
local function to_the_end(turns, tenant, option)
  local last = redis.call('ZRANGE', turns, -1, -1, 'WITHSCORES')[2]
  local place = (tonumber(last) or 0) + 1
  if option then redis.call('ZADD', turns, option, place, tenant) else redis.call('ZADD', turns, place, tenant) end
end

-- What is done to batches in the background, `due` (validation) or `sizing` (measuring files): each tenant has a line of its batches by
-- when that is to be done, and the tenants have turns: the tenant that was served longest ago is next.
local function queue_batch(kind, tenant, id, at)
  redis.call('ZADD', key('batches:' .. kind, tenant), at, id)
  to_the_end(key('batches:turns', kind), tenant, 'NX')
end

local function unqueue_batch(kind, tenant, id)
  local line = key('batches:' .. kind, tenant)
  redis.call('ZREM', line, id)
  redis.call('ZREM', key('batches:' .. kind), id)
  if redis.call('EXISTS', line) == 1 then return end
  redis.call('ZREM', key('batches:turns', kind), tenant)
  if kind == 'due' then redis.call('HDEL', key('batches:busy'), tenant) end
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

-- The next batch of the tenant whose turn it is, for `ms`; nil if none is due. Tenants for whom `passed` says so are passed over.
local function take_batch(kind, ms, passed)
  move_earlier(kind)
  local turns = key('batches:turns', kind)
  for _, tenant in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
    local line = key('batches:' .. kind, tenant)
    local id = redis.call('ZRANGEBYSCORE', line, '-inf', NOW, 'LIMIT', 0, 1)[1]
    if id and not (passed and passed(tenant, line)) then
      redis.call('ZADD', line, NOW + ms, id)
      to_the_end(turns, tenant)
      return id, tenant
    end
  end
end
