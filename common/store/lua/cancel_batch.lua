-- Notes that a batch is to be cancelled: its validation ends at it, and who made a job of it cancels that.
--[[ arguments
id               the batch
]]
-- Answers 1, or 0: no such batch.
if redis.call('EXISTS', key('batch', id)) == 0 then return 0 end
redis.call('HSETNX', key('batch', id), 'cancelling_at', string.format('%d', NOW))
return 1
