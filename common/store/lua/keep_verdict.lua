-- keep_verdict(file, endpoint, verdict): what its validation as a batch for this endpoint came to; it goes with the file.
-- Answers 1, or 0: no such file.
local expires_at = redis.call('HGET', key('file', ARGV[1]), 'expires_at')
if not expires_at then return 0 end
redis.call('HSET', key('file', ARGV[1], 'verdicts'), ARGV[2], ARGV[3])
redis.call('PEXPIREAT', key('file', ARGV[1], 'verdicts'), expires_at)
return 1
