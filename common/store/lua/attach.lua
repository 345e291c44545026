-- Makes a staged segment a job, which may have waited for it.
--[[ arguments
id               the new job
stage            where its items were staged
idem             its idempotency key, or ''
fingerprint      of its content, with the key
named            the fingerprint of what was sent with a stored file's id in place of its items, or ''
earlier          the fingerprint that parts up to schema 3 take of it, or '' where they cannot take such content
deadline         number: in ms, 0 for none
tenant_items     number: items that the tenant may have waiting; 0 for no limit, as all limits
tenant_tokens    number: tokens that these may need
tenant_bytes     number: bytes that these may take
total_items      number: items that all tenants together may have waiting
total_tokens     number: tokens that these may need
total_bytes      number: bytes that these may take
stored_bytes     number: bytes that the tenant may keep; not asked for interactive jobs
whole            the segment's only chunk, where it was not sent before, or ''
whole_side       the side of it, or ''
whole_ids        the digests of its custom_ids, ten bytes each: bucket and digest
prep             JSON: the fields of its prep, each JSON of its own, or ''
rest             field, value, ...: of the job's hash
]]
-- Answers {outcome, job, rings}: `new`; `same` (this key and content made that job already); `conflict` (the key had other
-- content); `deleted` (the batch that it is made of was deleted meanwhile, or the job that waited for its items, or its sweep was not
-- begun); `lost` (the staged segment's time ran out);
-- `tenant_full`, `full`, `stored_full` (a limit would be passed; nothing is left staged).
-- A call that is sent again because its reply was lost answers `new` again.
local limits = {tenant = {tenant_items, tenant_tokens, tenant_bytes}, total = {total_items, total_tokens, total_bytes},
  stored = stored_bytes}
local jobkey = key('job', id)

local known = load_job(id)
local waited = known and known.waiting == 1
if known and not waited then
  drop_stage(staged_keys(stage)) -- another process may have staged and attached the same rows
  return {'new', id, wake(known.model, claimable(known))}
end

-- What a job that waited has already: its tenant may have changed it meanwhile.
local HAS_ALREADY = {tenant = true, priority = true, token_budget = true, error_rate = true, hooks = true, retention = true}

local spec, fields = {}, {}
for i = REST, #ARGV, 2 do
  spec[ARGV[i]] = ARGV[i + 1]
  if not (waited and HAS_ALREADY[ARGV[i]]) then fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1] end
end
local staged = staged_keys(stage)

local function refuse(outcome, job)
  drop_stage(staged)
  return {outcome, job or id, 0}
end

if idem ~= '' then
  local outcome, made = made_before(key('idem', spec.tenant, idem), fingerprint, earlier, 'job')
  if outcome then return refuse(outcome, made) end
end
-- A validator may be frozen while another makes the job and its tenant deletes it: it must not be made again under the same id.
if spec.batch and redis.call('EXISTS', key('batch', spec.batch)) == 0 then return refuse('deleted') end
if spec.input_from and not waited then return refuse('deleted') end
if spec.sweep and redis.call('EXISTS', key('sweep', spec.sweep)) == 0 then return refuse('deleted') end
stage_whole(staged, whole, whole_side, whole_ids)
if redis.call('EXISTS', staged['in']) == 0 then return {'lost', id, 0} end

-- An item's share of each is a whole number, so that counting what waits never drifts.
local items, cost = tonumber(spec.total), math.ceil(tonumber(spec.cost))
local weight = math.ceil(tonumber(spec.bytes) / items)
local too_much = overfull(spec.tenant, {items, items * cost, items * weight}, limits)
if too_much and not (too_much == 'stored_full' and spec.interactive == '1') then return refuse(too_much) end

stage_prep(staged, prep)
for part, source in pairs(staged) do
  if part == 'in' or part == 'starts' or redis.call('EXISTS', source) == 1 then
    redis.call('RENAME', source, key('job', id, part))
    redis.call('PERSIST', key('job', id, part))
  end
end
if waited then
  redis.call('HSET', jobkey, unpack(fields))
  stop_waiting(known)
else
  begin_record(id, unpack(fields))
end
redis.call('HSET', jobkey, 'cost', cost, 'weight', weight, 'surplus', math.ceil(tonumber(spec.surplus) or 0))
redis.call('SET', key('job', id, 'st'), string.rep('p', items))
redis.call('SADD', key('unfinished', spec.model), id)
-- An interactive request has its answer when it is over; in the list of jobs it would only hide those one looks for.
if spec.interactive ~= '1' and not waited then redis.call('ZADD', key('tenant', spec.tenant, 'jobs'), NOW, id) end
if deadline > 0 then
  redis.call('HSET', jobkey, 'deadline', string.format('%d', deadline))
  redis.call('ZADD', key('due'), deadline, 'expire:' .. id)
end
if spec.retry_of and redis.call('EXISTS', key('job', spec.retry_of)) == 1 then
  local source = key('job', spec.retry_of)
  local before = redis.call('HGET', source, 'retries') or redis.call('HGET', source, 'retried_by')
  redis.call('HSET', source, 'retried_by', id, 'retries', before and id .. ',' .. before or id)
end
if idem ~= '' then note_made(key('idem', spec.tenant, idem), fingerprint, earlier, id, named ~= '' and 'named:' .. named or nil) end
note_beside(id, spec.sweep)
local job = load_job(id)
job.pending, job.kept = items, waited and known.bytes or 0
finish(job)
return {'new', id, wake(spec.model, claimable(job))}
