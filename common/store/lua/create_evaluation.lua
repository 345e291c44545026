-- Keeps an evaluation of a job that is over, and has it wait for an evaluator.
--[[ arguments
id               the evaluation
job              the job
tenant           whose job it must be
asked            JSON: its metrics and gate
bytes            number: of the references that were put into `eval:{id}:refs` under a TTL; 0 for none
own              1 where the items' own references count, 0 where those do that were put there
stored_bytes     number: bytes that the tenant may keep; 0 for no limit
idem             its idempotency key, or ''
fingerprint      of what was sent with the key
]]
-- Answers {outcome, evaluation}: `new`; `same` (this key and content made that evaluation already); or what is in the way, and then
-- nothing is kept: `conflict` (the key had other content), `gone` (no such job of this tenant), `running` (the job is not over),
-- `too_many` (evaluations of this job), `stored_full`. A call that is sent again because its reply was lost answers `new` again.
if redis.call('EXISTS', key('eval', id)) == 1 then return {'new', id} end
local record = idem ~= '' and key('evalidem', tenant, idem)
if record then
  local outcome, made = made_before(record, fingerprint, '', 'eval')
  if outcome then
    redis.call('UNLINK', key('eval', id, 'refs'))
    return {outcome, made}
  end
end
local found = load_job(job)
local refused = (not found or found.tenant ~= tenant) and 'gone'
  or not TERMINAL[found.status] and 'running'
  or redis.call('ZCARD', key('job', job, 'evals')) >= MOST_EVALUATIONS and 'too_many'
  or bytes > 0 and over_stored(tenant, bytes, stored_bytes) and 'stored_full'
if refused then
  redis.call('UNLINK', key('eval', id, 'refs'))
  return {refused, id}
end
add_evaluation(found, id, 'request', asked)
if bytes > 0 then
  redis.call('PERSIST', key('eval', id, 'refs'))
  grow(found, bytes)
end
if own == '0' then redis.call('HSET', key('eval', id), 'referenced', 1) end
tell(job)
note_key(record, fingerprint, id)
return {'new', id}
