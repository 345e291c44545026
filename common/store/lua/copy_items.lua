-- copy_items(job, stage, items): stage what a job was made of, to make another of it. Answers 1, or 0 where it cannot be had any more:
-- the job is gone, has got more items since, or is over and its items' slots are not kept.
local job, stage = load_job(ARGV[1]), ARGV[2]
if not job or job.total ~= tonumber(ARGV[3]) then return 0 end
if redis.call('HEXISTS', key('job', job.id), 'n_min') == 1 and redis.call('EXISTS', key('job', job.id, 'needs')) == 0 then return 0 end
for _, part in ipairs({'in', 'starts', 'needs'}) do
  redis.call('COPY', key('job', job.id, part), key('stage', stage, part), 'REPLACE')
  redis.call('EXPIRE', key('stage', stage, part), 3600)
end
return 1
