-- Ends sessions of a tenant.
--[[ arguments
tenant           the tenant
session          the digest of the session that ends; '' for all of them, and the links that nobody has used
]]
-- Answers how many ended.
if session == '' then return end_sessions(tenant) end
redis.call('DEL', key('begun', session))
return redis.call('ZREM', key('tenant', tenant, 'sessions'), session)
