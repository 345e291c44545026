-- Takes the results that the worker handed in.

local function hand_in(job, index, state, prompt_tokens, completion_tokens, blob)
  job.out = job.out or {}
  job.out[#job.out + 1], job.out[#job.out + 2] = index, blob
  job.order = (job.order or '') .. struct.pack('>I4', index)
  set_states(job.id, index, 1, string.sub(state, 1, 1))
  if job.streamed == 1 then drop_stream(job.id, index) end
  job.running, job[state] = job.running - 1, job[state] + 1
  job.prompt_tokens, job.completion_tokens = job.prompt_tokens + prompt_tokens, job.completion_tokens + completion_tokens
  job.bytes = job.bytes + #blob
  job.correction = (job.correction or 0) + prompt_tokens + completion_tokens - job.cost
end

local function take_back(job, index, blob)
  if blob ~= '' then redis.call('HSET', key('job', job.id, 'from'), index, blob) end
  -- If this worker takes the item again and leaves, its old checkpoint is not how far the item got.
  redis.call('SREM', key('grown', incarnation), job.id .. ' ' .. index)
  requeue(job, index, (used(job.id, index)))
  job.correction = (job.correction or 0) - job.cost
end

local names = {} -- of the results' items in what the incarnation holds
for i = REST, #ARGV, 7 do names[#names + 1] = ARGV[i] .. ' ' .. ARGV[i + 1] end
local attempts, done = call_with(names, 'HMGET', heldkey), {}
for i, name in ipairs(names) do
  local at = REST + 7 * (i - 1) -- where the result begins
  local id, index, state, blob = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 6]
  local job = job_of(id)
  if attempts[i] ~= ARGV[at + 2] or done[name] or not job then
    refused[#refused + 1] = {id, tonumber(index)}
  else
    touch(job)
    if state == 'pending' then take_back(job, index, blob)
    else hand_in(job, index, state, tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), blob) end
  end
  done[name] = true
end
call_with(names, 'HDEL', heldkey)

read_times(touched)
for _, job in ipairs(touched) do
  if job.out then
    call_with(job.out, 'HSET', key('job', job.id, 'out'))
    redis.call('APPEND', key('job', job.id, 'order'), job.order)
    limit(job)
  end
  charge(job, job.correction)
end
write_times()
refresh_ready(touched) -- what was handed back can be picked below, what was just stopped can not
