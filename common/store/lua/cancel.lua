-- cancel(job): nothing more of it starts; what runs ends as soon as its workers hear of it, partial text kept.
-- Answers {status, hooked}, or {} when there is no such job. A terminal job stays as it is.
local job = load_job(ARGV[1])
if not job then return {} end
if not TERMINAL[job.status] and job.cancel_requested == 0 then
  cancel(job, 'requested')
  finish(job)
end
return {job.status, hooked() and 1 or 0}
