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
]]
-- Answers `new` (also where the call is sent again), `lost` (the stage is gone), `studies_full` or `stored_full` (a limit).
local study, list = key('study', id), key('tenant', tenant, 'studies')
if redis.call('EXISTS', study) == 1 then return 'new' end
if redis.call('HLEN', key('study', id, 'rows')) ~= rows then return 'lost' end
if redis.call('ZCARD', list) >= most then return 'studies_full' end
if over_stored(tenant, bytes, most_stored) then return 'stored_full' end

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
return 'new'
