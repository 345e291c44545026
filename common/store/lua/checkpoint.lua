-- checkpoint(incarnation, lease, whole, blob, slot, ...): keep how far the incarnation's items have got.
-- The blob is a worker's own record of new tokens; `whole` is 1 when it stands for all blobs before it. The slots (`job index`)
-- are those that got further for the first time: losing the worker costs them no attempt. Answers 1, or 0 when the lease is gone.
local incarnation, lease = ARGV[1], tonumber(ARGV[2])
if not redis.call('ZSCORE', key('workers'), incarnation) then return 0 end
local blobs = key('checkpoint', incarnation)
if ARGV[3] == '1' then redis.call('UNLINK', blobs) end
redis.call('RPUSH', blobs, ARGV[4])
redis.call('PEXPIRE', blobs, lease * 10 + 3600000) -- whoever takes the items over reads it within the hour
for i = 5, #ARGV do
  if redis.call('HEXISTS', key('held', incarnation), ARGV[i]) == 1 then redis.call('SADD', key('grown', incarnation), ARGV[i]) end
end
redis.call('PEXPIRE', key('grown', incarnation), lease * 10 + 3600000)
return 1
