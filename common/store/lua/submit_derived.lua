-- Keeps a job that waits for other jobs, of whose rows it is to be made.
--[[ arguments
id               the new job
tenant           its tenant, and theirs
sources          JSON: the jobs it waits for
idem             its idempotency key, or ''
fingerprint      of its content, with the key
deadline         number: in ms, 0 for none
most             number: jobs of the tenant that may wait so
stored_bytes     number: bytes that the tenant may keep, 0 for no limit
prep             JSON: the fields of its prep, each JSON of its own
rest             field, value, ...: of the job's hash
]]
-- Answers {outcome, job}: `new`; `same` (this key and content made that job already); `conflict` (the key had other content);
-- `gone` (the tenant has no such job to wait for); `too_many` (as many wait as may); `stored_full`. A call that is sent again because
-- its reply was lost answers `new` again.
local record, awaited = key('job', id), cjson.decode(sources)
if redis.call('EXISTS', record) == 1 then return {'new', id} end
if idem ~= '' then
  local outcome, made = made_before(key('idem', tenant, idem), fingerprint, '', 'job')
  if outcome then return {outcome, made} end
end
for _, source in ipairs(awaited) do
  if redis.call('HGET', key('job', source), 'tenant') ~= tenant then return {'gone', source} end
end
if redis.call('ZCARD', key('derived:line', tenant)) >= most then return {'too_many', id} end
local size = #prep
for i = REST, #ARGV do size = size + #ARGV[i] end
if over_stored(tenant, size, stored_bytes) then return {'stored_full', id} end

begin_record(id, unpack(ARGV, REST))
redis.call('HSET', record, 'tenant', tenant, 'waiting', 1, 'weight', 0, 'bytes', size)
for name, value in pairs(cjson.decode(prep)) do redis.call('HSET', key('job', id, 'prep'), name, value) end
redis.call('ZADD', key('tenant', tenant, 'jobs'), NOW, id)
if deadline > 0 then
  redis.call('HSET', record, 'deadline', string.format('%d', deadline))
  redis.call('ZADD', key('due'), deadline, 'expire:' .. id)
end
if idem ~= '' then note_made(key('idem', tenant, idem), fingerprint, '', id) end
note_beside(id)
for _, source in ipairs(awaited) do
  redis.call('SADD', key('job', source, 'waiters'), id)
  redis.call('HSET', key('job', source), 'awaited', 1)
end
queue_derived(tenant, id, all_over(awaited) and NOW or NOW + LOOK_AGAIN)
local job = load_job(id)
job.kept = 0
finish(job)
return {'new', id}
