-- What attach, append and create_batch share.

-- What an idempotency key has made before: `same` or `conflict`, and the id; nil where it is free. `record` is the key's own; it made a
-- `kind` (job, batch), or added to it, and then the record goes on. Once that is gone the key is free for other content; the same
-- content is a late repetition and makes nothing.
local function made_before(record, fingerprint, kind)
  local before, made = string.match(redis.call('GET', record) or '', '^(%S+) (%S+)')
  if not before then return nil end
  if before == fingerprint then return 'same', made end
  if redis.call('EXISTS', key(kind, made)) == 1 then return 'conflict', made end
end

-- Put a stage's only chunk, which came with the call, where those of larger stages are; `ids` as attach says.
local function stage_whole(staged, starts, chunk, ids)
  if chunk == '' then return end
  redis.call('HSET', staged, 0, chunk)
  redis.call('ZADD', starts, 0, 0)
  for i = 1, #ids, 10 do
    local bucket = '#' .. struct.unpack('>I2', ids, i)
    redis.call('HSET', staged, bucket, (redis.call('HGET', staged, bucket) or '') .. string.sub(ids, i + 2, i + 9))
  end
end
