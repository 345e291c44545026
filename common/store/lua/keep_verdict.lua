-- Keeps what the validation of a file as a batch came to; it goes with the file.
--[[ arguments
file             the file
endpoint         that the batch was for
verdict          JSON
]]
-- Answers 1, or 0: no such file.
local expires_at = redis.call('HGET', key('file', file), 'expires_at')
if not expires_at then return 0 end
redis.call('HSET', key('file', file, 'verdicts'), endpoint, verdict)
redis.call('PEXPIREAT', key('file', file, 'verdicts'), expires_at)
return 1
