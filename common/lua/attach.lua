-- attach(job, stage, idempotency key, fingerprint, deadline, field, value, ...): make a staged segment a job.
-- Answers {outcome, job, rings}: `new`; `same` (this key and content made that job already); `conflict` (the key had other
-- content); `lost` (the staged segment ran out of time). Repeating a call whose reply was lost answers `new` again.
local id, stage, idem, fingerprint, deadline = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local jobkey = key('job', id)

local known = load_job(id)
if known then return {'new', id, rings(known.model)} end

local fields = {}
for i = 6, #ARGV do fields[#fields + 1] = ARGV[i] end
local spec = {}
for i = 1, #fields, 2 do spec[fields[i]] = fields[i + 1] end

local staged, starts = key('stage', stage, 'in'), key('stage', stage, 'starts')
if idem ~= '' then
  local record = redis.call('GET', key('idem', spec.tenant, idem))
  if record then
    local before, made = string.match(record, '^(%S+) (%S+)$')
    redis.call('UNLINK', staged, starts)
    return {before == fingerprint and 'same' or 'conflict', made, 0}
  end
end
if redis.call('EXISTS', staged) == 0 then return {'lost', id, 0} end

for part, source in pairs({['in'] = staged, starts = starts}) do
  redis.call('RENAME', source, key('job', id, part))
  redis.call('PERSIST', key('job', id, part))
end
redis.call('HSET', jobkey, 'status', 'queued', 'created_at', string.format('%d', NOW), 'pending', spec.total, 'running', 0,
  'succeeded', 0, 'failed', 0, 'cancelled', 0, 'expired', 0, 'cursor', 0, 'prompt_tokens', 0, 'completion_tokens', 0,
  'cancel_requested', 0, 'deadline_passed', 0, unpack(fields))
redis.call('SET', key('job', id, 'st'), string.rep('p', tonumber(spec.total)))
redis.call('ZADD', key('tenant', spec.tenant, 'jobs'), NOW, id)
if deadline > 0 then
  redis.call('HSET', jobkey, 'deadline', string.format('%d', deadline))
  redis.call('ZADD', key('due'), deadline, 'expire:' .. id)
end
if idem ~= '' then redis.call('SET', key('idem', spec.tenant, idem), fingerprint .. ' ' .. id, 'EX', 86400) end
refresh_ready(load_job(id))
tell(id)
return {'new', id, rings(spec.model)}
