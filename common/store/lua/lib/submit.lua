-- What scripts share that make or extend something of a tenant.

-- What an idempotency key has made before: `same` or `conflict`, and the id; nil where it is free. `record` is the key's own; it made a
-- `kind` (job, batch), or added to it, and then the record goes on. Once that is gone the key is free for other content; the same
-- content is a late repetition and makes nothing. `earlier` is the fingerprint that parts up to schema 3 take of the same content, who
-- keep no other.
local function made_before(record, fingerprint, earlier, kind)
  local before, made, rest = string.match(redis.call('GET', record) or '', '^(%S+) (%S+)(.*)$')
  if not before then return nil end
  local of_today = string.match(rest, '^ sent:(%S+)')
  if of_today == fingerprint or not of_today and before == earlier then return 'same', made end
  if redis.call('EXISTS', key(kind, made)) == 1 then return 'conflict', made end
end

-- Note for a day what an idempotency key made that is no job or sweep; `record` is false without a key.
local function note_key(record, fingerprint, id)
  if record then redis.call('SET', record, '- ' .. id .. ' sent:' .. fingerprint, 'EX', 86400) end
end

-- Begin the record of a job without items; the rest are its other fields, pair by pair.
local function begin_record(id, ...)
  redis.call('HSET', key('job', id), 'status', 'queued', 'created_at', string.format('%d', NOW), 'pending', 0, 'running', 0,
    'succeeded', 0, 'failed', 0, 'cancelled', 0, 'expired', 0, 'cursor', 0, 'prompt_tokens', 0, 'completion_tokens', 0,
    'cancel_requested', 0, 'deadline_passed', 0, 'paused', 0, ...)
end

-- Note what an idempotency key made of a job. Its record is kept as long as the job, and a day at least (`forget_beside`).
local function note_made(record, fingerprint, earlier, id, ...)
  redis.call('SET', record, table.concat({earlier == '' and '-' or earlier, id, 'sent:' .. fingerprint, ...}, ' '))
  redis.call('ZADD', key('job', id, 'idem'), NOW, record)
end

-- Note a job that has parts, or is in a sweep, which parts of promptmill up to schema 3 do not remove with it: a tick looks after those.
local function note_beside(id, sweep)
  if sweep or redis.call('EXISTS', key('job', id, 'side'), key('job', id, 'prep'), key('job', id, 'idem')) > 0 then
    redis.call('SADD', key('beside'), id)
  end
end

-- The keys of a stage, by part.
local STAGED = {'in', 'starts', 'needs', 'side', 'prep'}
local function staged_keys(stage)
  local keys = {}
  for _, part in ipairs(STAGED) do keys[part] = key('stage', stage, part) end
  return keys
end

local function drop_stage(staged)
  for _, part in pairs(staged) do redis.call('UNLINK', part) end
end

-- Put a stage's only chunk, which came with the call, where those of larger stages are; `side` and `ids` as attach says.
local function stage_whole(staged, chunk, side, ids)
  if chunk == '' then return end
  redis.call('HSET', staged['in'], 0, chunk)
  redis.call('ZADD', staged.starts, 0, 0)
  if side ~= '' then redis.call('HSET', staged.side, 0, side) end
  for i = 1, #ids, 10 do
    local bucket = '#' .. struct.unpack('>I2', ids, i)
    redis.call('HSET', staged['in'], bucket, (redis.call('HGET', staged['in'], bucket) or '') .. string.sub(ids, i + 2, i + 9))
  end
end

local function stage_prep(staged, prep)
  for name, value in pairs(prep == '' and {} or cjson.decode(prep)) do redis.call('HSET', staged.prep, name, value) end
end
