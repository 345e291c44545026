-- Removes a job and all that belongs to it, now.
--[[ arguments
id               the job
]]
-- Late results find no job and are refused. Answers 1 if there was one.
local job = load_job(id)
if not job then return 0 end
purge(job)
tell(job.id)
return 1
