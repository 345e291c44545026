-- Adds a staged segment to a job that is not over.
--[[ arguments
id               the job
stage            where the items were staged
items            number: how many they are
tokens           number: what they are expected to need
n_max            number: the most slots that one of them takes
bytes            number: theirs, as stored
tenant_items     number: items that the tenant may have waiting; 0 for no limit, as all limits
tenant_tokens    number: tokens that these may need
tenant_bytes     number: bytes that these may take
total_items      number: items that all tenants together may have waiting
total_tokens     number: tokens that these may need
total_bytes      number: bytes that these may take
stored_bytes     number: bytes that the tenant may keep
most_items       number: items that the job may have in all
streamed         number: continuations of them that are to be streamed
most_streamed    number: continuations of the job that may be
most_columns     number: columns that the job may have in all
idem             the idempotency key, or ''
fingerprint      of the content, with the key
earlier          as in attach
surplus          number: bytes that their results are expected to take above 3 a token
evaluate         JSON: the evaluation that begins when the job ends, if these items change it, or ''
whole            as in attach
whole_side       as in attach
whole_ids        as in attach
prep             as in attach; of it the columns and what results have are added to the job's
]]
-- Answers {outcome, rings, first index, count}: `added`; `same` (the key and content were added before, there); or, with nothing
-- left staged, `conflict` (the key had other content); `terminal` (the job is over or was cancelled); `waiting` (it has no items yet, but waits for other jobs); `gone` (no such job);
-- `lost` (the stage's time ran out); `tenant_full`, `full`, `stored_full` (a limit would be passed); `too_many`,
-- `too_many_streams`, `too_many_columns` (the job would have more than it may). {`duplicate`, 0, digest, ...} are custom_ids that the job has
-- already, 100 at most. A call that is sent again because its reply was lost answers the same and adds nothing.
local limits = {tenant = {tenant_items, tenant_tokens, tenant_bytes}, total = {total_items, total_tokens, total_bytes},
  stored = stored_bytes}
local staged, done = staged_keys(stage), key('stage', stage, 'done')

local function refuse(outcome, ...)
  drop_stage(staged)
  return {outcome, 0, ...}
end

local job = load_job(id)
if not job then return refuse('gone') end
local before = redis.call('GET', done)
if before then return {'added', wake(job.model, claimable(job)), tonumber(before), items} end
if idem ~= '' then
  local record = key('idem', job.tenant, idem)
  local known, whose = made_before(record, fingerprint, earlier, 'job')
  local first, count = string.match(redis.call('GET', record) or '', ' (%d+) (%d+)$') -- a submit's has none
  if known == 'same' and whose == id and first then return refuse('same', tonumber(first), tonumber(count)) end
  if known then return refuse('conflict') end
end
stage_whole(staged, whole, whole_side, whole_ids)

-- The names of the job's columns with those of the stage that are new; none where the stage names none. Read as lists of texts, which
-- cjson writes as they were.
local function all_columns()
  local more = prep ~= '' and cjson.decode(prep).columns
  if not more then return {} end
  local names, known = cjson.decode(redis.call('HGET', key('job', id, 'prep'), 'columns') or '[]'), {}
  for _, name in ipairs(names) do known[name] = true end
  for _, name in ipairs(cjson.decode(more)) do
    if not known[name] then names[#names + 1], known[name] = name, true end
  end
  return names
end

local columns = all_columns()
local told = redis.call('HGET', key('job', id), 'streams') or 0
local refused = (TERMINAL[job.status] or job.cancel_requested == 1) and 'terminal'
  or job.waiting == 1 and 'waiting'
  or redis.call('EXISTS', staged['in']) == 0 and 'lost'
  or job.total + items > most_items and 'too_many'
  or streamed > 0 and told + streamed > most_streamed and 'too_many_streams'
  or #columns > most_columns and 'too_many_columns'
  or overfull(job.tenant, {items, tokens, bytes}, limits)
if refused then return refuse(refused) end

-- The job's digests of custom_ids are in buckets, each a string of digests of eight bytes; so are the stage's.
local function has(digests, digest)
  local at = string.find(digests, digest, 1, true)
  while at and at % 8 ~= 1 do at = string.find(digests, digest, at + 1, true) end
  return at
end

local buckets, duplicates = {}, {}
for _, field in ipairs(redis.call('HKEYS', staged['in'])) do
  if string.sub(field, 1, 1) == '#' then
    local known, new = redis.call('HGET', key('job', id, 'in'), field) or '', redis.call('HGET', staged['in'], field)
    for i = 1, known == '' and 0 or #new, 8 do
      local digest = string.sub(new, i, i + 7)
      if #duplicates < 100 and has(known, digest) then duplicates[#duplicates + 1] = digest end
    end
    buckets[#buckets + 1], buckets[#buckets + 2] = field, known .. new
  end
end
if #duplicates > 0 then return refuse('duplicate', unpack(duplicates)) end
for i = 1, #buckets, 2 do redis.call('HSET', key('job', id, 'in'), buckets[i], buckets[i + 1]) end

for _, start in ipairs(redis.call('ZRANGE', staged.starts, 0, -1)) do
  local first, side = string.format('%d', job.total + start), redis.call('HGET', staged.side, start)
  redis.call('HSET', key('job', id, 'in'), first, redis.call('HGET', staged['in'], start))
  redis.call('ZADD', key('job', id, 'starts'), first, first)
  if side then redis.call('HSET', key('job', id, 'side'), first, side) end
end
if #columns > 0 then redis.call('HSET', key('job', id, 'prep'), 'columns', cjson.encode(columns)) end
for _, flag in ipairs({'choices', 'continuations', 'json_output', 'reasoning'}) do
  if prep ~= '' and cjson.decode(prep)[flag] then redis.call('HSET', key('job', id, 'prep'), flag, 'true') end
end
-- What each item takes is written down as soon as they differ.
local new = redis.call('GET', staged.needs) or string.rep(string.char(n_max), items)
if job.n_min == job.n_max and new ~= string.rep(string.char(job.n_max), items) then
  redis.call('SET', key('job', id, 'needs'), string.rep(string.char(job.n_max), job.total))
end
for i = 1, #new do
  job.n_min, job.n_max = math.min(job.n_min, string.byte(new, i)), math.max(job.n_max, string.byte(new, i))
end
if job.n_min < job.n_max then redis.call('SETRANGE', key('job', id, 'needs'), job.total, new) end

drop_stage(staged)
if evaluate ~= '' then redis.call('HSET', key('job', id), 'evaluate', evaluate) end
redis.call('APPEND', key('job', id, 'st'), string.rep('p', items))
local first = string.format('%d', job.total)
redis.call('SET', done, first, 'EX', 3600)
if idem ~= '' then note_made(key('idem', job.tenant, idem), fingerprint, earlier, id, first, items) end
note_beside(id)

-- What waits was counted at the old cost and weight: take it out of the count, and put all of it back at the new ones.
local waiting, waiting_tokens, waiting_bytes = job.pending, job.pending * job.cost, job.pending * job.weight
local waiting_surplus = job.pending * job.surplus
job.pending = 0
account({job})
job.cost = math.ceil((waiting_tokens + tokens) / (waiting + items))
job.weight = math.ceil((waiting_bytes + bytes) / (waiting + items))
job.surplus = math.ceil((waiting_surplus + surplus) / (waiting + items))
job.pending, job.total = waiting + items, job.total + items
redis.call('HSET', key('job', id), 'total', job.total, 'cost', job.cost, 'weight', job.weight, 'surplus', job.surplus, 'n_min', job.n_min,
  'n_max', job.n_max)
job.bytes = job.bytes + bytes
if streamed > 0 then redis.call('HINCRBY', key('job', id), 'streams', streamed) end
finish(job)
return {'added', wake(job.model, math.min(items, claimable(job))), tonumber(first), items}
