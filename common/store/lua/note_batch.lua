-- note_batch(batch, field, value, ...): write down what was found out about a batch, or done to its files. Answers 1, or 0: no such
-- batch.
if redis.call('EXISTS', key('batch', ARGV[1])) == 0 then return 0 end
redis.call('HSET', key('batch', ARGV[1]), unpack(ARGV, 2))
return 1
