-- claim_sizing(ms): the batch whose files are to be measured next; nobody else is told of it for `ms`. Answers its id, or ''.
local id = redis.call('ZRANGEBYSCORE', key('batches:sizing'), '-inf', NOW, 'LIMIT', 0, 1)[1]
if not id then return '' end
redis.call('ZADD', key('batches:sizing'), NOW + tonumber(ARGV[1]), id)
return id
