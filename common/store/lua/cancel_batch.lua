-- cancel_batch(batch): note the wish; a validation ends at it, and whoever made a job of the batch cancels that. Answers 1, or 0: no such batch.
if redis.call('EXISTS', key('batch', ARGV[1])) == 0 then return 0 end
redis.call('HSETNX', key('batch', ARGV[1]), 'cancelling_at', string.format('%d', NOW))
return 1
