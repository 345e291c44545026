-- Releases the GPUs of a worker, and none that another holds meanwhile.
--[[ arguments
owner            the worker process
rest             GPUs by UUID
]]
for i = REST, #ARGV do
  if redis.call('GET', key('gpu', ARGV[i])) == owner then redis.call('DEL', key('gpu', ARGV[i])) end
end
