-- release(incarnation, max attempts): a worker leaves; what it holds goes back. It is uncharged with 0 (it drains), else charged as if the
-- worker had died (its turn failed: one of its items may be why). Answers {items handed back, rings, hooked}.
local incarnation, max_attempts = ARGV[1], tonumber(ARGV[2])
local count, model = hand_back(incarnation, max_attempts > 0, max_attempts)
return {count, model and wake(model, count) or 0, hooked() and 1 or 0}
