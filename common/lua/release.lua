-- release(incarnation): a draining worker leaves; what it holds goes back uncharged. Answers {items handed back, rings, hooked}.
local incarnation = ARGV[1]
local count, model = hand_back(incarnation, false, 0)
return {count, model and wake(model, count) or 0, hooked() and 1 or 0}
