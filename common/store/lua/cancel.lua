-- Nothing more of a job starts; what runs ends as soon as its workers hear of it, and keeps its text so far.
--[[ arguments
id               the job
]]
-- Answers {status, hooked}, or {} where there is no such job. A job that is over stays as it is.
local job = load_job(id)
if not job then return {} end
if not TERMINAL[job.status] and job.cancel_requested == 0 then
  cancel(job, 'requested')
  finish(job)
end
return {job.status, hooked() and 1 or 0}
