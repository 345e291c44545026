-- Who may come in for a tenant: its API keys, and the links and sessions of its browsers.

-- The list of a tenant's API keys, by the time they were made. Keys of earlier versions are in no tenant's list: where it is missing,
-- it is made from the set of all keys.
local function keys_of(tenant)
  local list = key('tenant', tenant, 'keys')
  if redis.call('EXISTS', list) == 0 then
    for _, id in ipairs(redis.call('SMEMBERS', key('keys'))) do
      local other = redis.call('HMGET', key('key', id), 'tenant', 'created_at')
      if other[1] == tenant then redis.call('ZADD', list, tonumber(other[2]) or 0, id) end
    end
  end
  return list
end

-- End all browser sessions of a tenant, and all its login links and invitations. Answers how many sessions and links these were.
local function end_sessions(tenant)
  local links = redis.call('ZRANGE', key('tenant', tenant, 'links'), 0, -1)
  local sessions = redis.call('ZRANGE', key('tenant', tenant, 'sessions'), 0, -1)
  for _, link in ipairs(links) do redis.call('DEL', key('login', link)) end
  for _, session in ipairs(sessions) do redis.call('DEL', key('begun', session)) end
  redis.call('DEL', key('tenant', tenant, 'links'), key('tenant', tenant, 'invites'), key('tenant', tenant, 'sessions'))
  return #links + #sessions
end
