-- Writes down what was found out about a batch, or done to its files.
--[[ arguments
id               the batch
rest             field, value, ...
]]
-- Answers 1, or 0: no such batch.
if redis.call('EXISTS', key('batch', id)) == 0 then return 0 end
redis.call('HSET', key('batch', id), unpack(ARGV, REST))
return 1
