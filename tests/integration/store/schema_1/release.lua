-- release(incarnation): a draining worker leaves; what it holds goes back uncharged. Answers {items handed back, rings, hooked}.
local incarnation = ARGV[1]
local model = redis.call('HGET', key('worker', incarnation), 'model')
local count = hand_back(incarnation, false, 0)
return {count, model and rings(model) or 0, HOOKED and 1 or 0}
