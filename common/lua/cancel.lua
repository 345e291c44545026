-- cancel(job): nothing more of it starts; what runs ends at its worker's next heartbeat, partial text kept.
-- Answers {status, hooked}, or {} when there is no such job. A terminal job stays as it is.
local job = load_job(ARGV[1])
if not job then return {} end
if not TERMINAL[job.status] and job.cancel_requested == 0 then
  redis.call('HSET', key('job', job.id), 'cancel_requested', 1)
  job.cancel_requested = 1
  end_pending(job, 'cancelled')
  finish(job)
end
return {job.status, HOOKED and 1 or 0}
