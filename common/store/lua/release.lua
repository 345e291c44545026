-- A worker leaves; what it holds goes back.
--[[ arguments
incarnation      the worker
max_attempts     number: 0 where it drains and nothing is charged; else items are charged as if it had died, and fail after so many
]]
-- Answers {items handed back, rings, hooked}.
local count, model = hand_back(incarnation, max_attempts > 0, max_attempts)
return {count, model and wake(model, count) or 0, hooked() and 1 or 0}
