-- Keeps the record of a sweep, whose jobs are attached behind it in the same transaction.
--[[ arguments
id               the sweep
tenant           its tenant
idem             its idempotency key, or ''
fingerprint      of its content, with the key
named            the fingerprint of what was sent with a stored file's id in place of its items, or ''
items            number: of all its jobs together
tokens           number: what these are expected to need
bytes            number: theirs, as stored
tenant_items     number: items that the tenant may have waiting; 0 for no limit, as all limits
tenant_tokens    number: tokens that these may need
tenant_bytes     number: bytes that these may take
total_items      number: items that all tenants together may have waiting
total_tokens     number: tokens that these may need
total_bytes      number: bytes that these may take
stored_bytes     number: bytes that the tenant may keep
jobs             number: how many it has
rest             job, stage (or '' where its items come with its attach), ... of each; then field, value, ...: of the sweep's hash
]]
-- Answers {outcome, sweep}: `new`; `same` (this key and content made that sweep already); `conflict` (the key had other content);
-- `lost` (the time of something staged ran out); `tenant_full`, `full`, `stored_full` (a limit would be passed). After all but `new`
-- its jobs' attaches find no record, and make nothing. A call that is sent again because its reply was lost answers `new` again.
local sweep, record = key('sweep', id), idem ~= '' and key('sweepidem', tenant, idem)
if redis.call('EXISTS', sweep) == 1 then return {'new', id} end
if record then
  local outcome, made = made_before(record, fingerprint, '', 'sweep')
  if outcome then return {outcome, made} end
end
local first = REST + 2 * jobs -- where the hash's fields begin
for i = REST, first - 1, 2 do
  if ARGV[i + 1] ~= '' and redis.call('EXISTS', key('stage', ARGV[i + 1], 'in')) == 0 then return {'lost', id} end
end
local too_much = overfull(tenant, {items, tokens, bytes}, {tenant = {tenant_items, tenant_tokens, tenant_bytes},
  total = {total_items, total_tokens, total_bytes}, stored = stored_bytes})
if too_much then return {too_much, id} end

redis.call('HSET', sweep, 'tenant', tenant, 'idem', idem, 'created_at', string.format('%d', NOW), unpack(ARGV, first))
for i = 0, jobs - 1 do redis.call('ZADD', key('sweep', id, 'jobs'), i, ARGV[REST + 2 * i]) end
redis.call('ZADD', key('tenant', tenant, 'sweeps'), NOW, id)
if record then redis.call('SET', record, '- ' .. id .. ' sent:' .. fingerprint .. (named ~= '' and ' named:' .. named or '')) end -- as long as the sweep, and a day at least
return {'new', id}
