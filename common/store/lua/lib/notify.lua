-- Webhook events, changes that followers hear of, and what streamed items said.

-- Write a webhook event into the outbox; it goes with its owner, a job or a batch, that has it in `list`. Its id is made of its type and
-- of what it is about, the owner if nothing else is said: writing it twice is one event.
local function outbox(list, owner, event_type, data, about)
  local event = 'evt_' .. (about or owner) .. '_' .. string.gsub(event_type, '%.', '_')
  if redis.call('HSETNX', key('hook', event), 'owner', owner) == 0 then return end
  redis.call('HSET', key('hook', event), 'type', event_type, 'created_at', string.format('%d', NOW), 'status', 'pending',
    'tries', '[]', 'data', data)
  redis.call('RPUSH', list, event)
  redis.call('ZADD', key('hooks:due'), NOW, event)
  HOOKED = true
end

-- Whether a job asked for events of this type.
local function wants(job, event_type)
  return job.hooks ~= '' and string.find(',' .. job.hooks .. ',', ',' .. event_type .. ',', 1, true) ~= nil
end

-- Write an event of a job, if the job asked for this type. The end of a batch's job is the batch's own event, in OpenAI's words.
local function emit(job, event_type)
  if not wants(job, event_type) then return end
  local hooks = key('job', job.id, 'hooks')
  if job.batch ~= '' then
    return outbox(hooks, job.id, 'batch.' .. job.status, cjson.encode({id = job.batch}))
  end
  local counts = {total = job.total}
  for _, name in ipairs({'pending', 'running', 'succeeded', 'failed', 'cancelled', 'expired'}) do counts[name] = job[name] end
  outbox(hooks, job.id, event_type, cjson.encode({id = job.id, status = job.status, model = job.model, counts = counts}))
end

-- Publish that a job changed. With `status`, clients that wait for its end alone need not read the job.
local function tell(id, status)
  redis.call('PUBLISH', key('changes'), status and id .. ' ' .. status or id)
end

-- What an item said so far is of no use once its result is stored.
local function drop_stream(id, index)
  if redis.call('SREM', key('job', id, 'streams'), index) == 1 then redis.call('UNLINK', key('job', id, 'events', index)) end
end

local function drop_streams(id)
  for _, index in ipairs(redis.call('SMEMBERS', key('job', id, 'streams'))) do drop_stream(id, index) end
end

-- Whether a ring that no webhook worker has taken yet lies in their queue.
local function hooks_rung()
  return redis.call('LLEN', 'webhooks') > 0
end

-- Whether a ring that no evaluator has taken yet lies in their queue.
local function evaluators_rung()
  return redis.call('LLEN', 'evaluate') > 0
end

-- Whether the script's caller should ring the webhook worker: an event was written, and no ring lies there for it.
local function hooked()
  return HOOKED and not hooks_rung()
end
