-- Ends a job that cannot be made of the rows of others.
--[[ arguments
id               the job
claim            as claim_derived was given it
why              source_deleted, source_empty or refused
said             JSON of the error that its tenant reads
]]
-- Answers 1 where the webhook worker should be rung. Does nothing where the claim is another's by now, or the job waits no more.
local job = load_job(id)
if not job or job.waiting ~= 1 or redis.call('HGET', key('job', id), 'claim') ~= claim then return 0 end
end_derived(job, why, said)
return hooked() and 1 or 0
