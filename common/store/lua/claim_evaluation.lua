-- Takes an evaluation for one evaluator, tenants in turn.
--[[ arguments
lease            number: ms for which no other gets it
claim            a fresh random name, which fences what its holder writes
most             number: claims without a new chunk of scores after which it fails
]]
-- Answers {evaluation, job, tenant, asked, done, total, referenced, tokenizer}, or {}. A claimed evaluation is due again when its
-- lease ends, so that one whose evaluator died, or whose reply was lost, is only late.
local function record_of(id)
  return redis.call('HMGET', key('eval', id), 'job', 'tenant', 'asked', 'done', 'total', 'referenced', 'tokenizer')
end

for _ = 1, 100 do
  local id, tenant = take_next('evals', 'due', lease)
  if not id then break end
  local record = key('eval', id)
  if redis.call('EXISTS', record) == 0 then
    leave_line('evals', 'due', tenant, id)
  elseif redis.call('HINCRBY', record, 'tries', 1) > most then
    close_evaluation(id, 'failed', 'null', 'error', cjson.encode({code = 'evaluator_died', message = 'the evaluator died or froze ' ..
      most .. ' times in a row at the same rows; evaluate the job again, with fewer metrics'}))
  else
    redis.call('HSET', record, 'status', 'running', 'claim', claim)
    redis.call('HSETNX', record, 'started_at', string.format('%d', NOW))
    return {id, unpack(record_of(id))}
  end
end
return {}
