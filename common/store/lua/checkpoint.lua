-- Keeps how far the items of a worker have got.
--[[ arguments
incarnation      the worker
lease            number: its lease in ms
whole            1 where the blob stands for all blobs before it, else 0
blob             the worker's own record of new tokens
rest             slot, ...: `job index` of those that got further for the first time: losing the worker costs them no attempt
]]
-- Answers 1, or 0 where the lease is gone.
if not redis.call('ZSCORE', key('workers'), incarnation) then return 0 end
local blobs = key('checkpoint', incarnation)
if whole == '1' then redis.call('UNLINK', blobs) end
redis.call('RPUSH', blobs, blob)
redis.call('PEXPIRE', blobs, lease * 10 + 3600000) -- the next worker that holds the items reads it within the hour
for i = REST, #ARGV do
  if redis.call('HEXISTS', key('held', incarnation), ARGV[i]) == 1 then redis.call('SADD', key('grown', incarnation), ARGV[i]) end
end
redis.call('PEXPIRE', key('grown', incarnation), lease * 10 + 3600000)
return 1
