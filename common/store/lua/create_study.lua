-- Makes a study of rows that were staged under its id.
--[[ arguments
id               the study
tenant           whose it is
about            JSON: what was asked for, and the jobs
tasks            four bytes a task: the row, and the places of the two jobs
rows             number: rows that were staged
wanted           number: ratings that each task is to get
bytes            number: all that is stored of it
most             number: studies that the tenant may have
most_stored      number: bytes that the tenant may keep of all, 0 for no limit
idem             its idempotency key, or ''
fingerprint      of what was sent with the key
]]
-- Answers {outcome, study}: `new` (also where the call is sent again); `same` (this key and content made that study already, which may
-- be gone by now); `conflict` (the key had other content); `lost` (the stage is gone), `studies_full` or `stored_full` (a limit).
local study, list = key('study', id), key('tenant', tenant, 'studies')
if redis.call('EXISTS', study) == 1 then return {'new', id} end
local record = idem ~= '' and key('studyidem', tenant, idem)
if record then
  local outcome, made = made_before(record, fingerprint, '', 'study')
  if outcome then return {outcome, made} end
end
if redis.call('HLEN', key('study', id, 'rows')) ~= rows then return {'lost', id} end
if redis.call('ZCARD', list) >= most then return {'studies_full', id} end
if over_stored(tenant, bytes, most_stored) then return {'stored_full', id} end

local count, open = #tasks / 4, {}
for task = 0, count - 1 do
  open[#open + 1], open[#open + 2] = 0, string.format('%05d', task)
end
redis.call('HSET', study, 'tenant', tenant, 'about', about, 'tasks', count, 'wanted', wanted, 'bytes', bytes,
  'created_at', string.format('%d', NOW), 'ratings', 0, 'changes', 0)
redis.call('SET', key('study', id, 'tasks'), tasks)
redis.call('PERSIST', key('study', id, 'rows'))
call_with(open, 'ZADD', key('study', id, 'open'))
redis.call('ZADD', list, NOW, id)
count_stored(tenant, 'studies', bytes, 0)
note_key(record, fingerprint, id)
return {'new', id}
