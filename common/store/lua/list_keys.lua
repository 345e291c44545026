-- The API keys of a tenant.
--[[ arguments
tenant           whose keys
]]
-- Answers their ids.
return redis.call('ZRANGE', keys_of(tenant), 0, -1)
