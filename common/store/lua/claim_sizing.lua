-- Answers the batch whose files are to be measured next, tenants in turn.
--[[ arguments
ms               number: ms for which no other process gets it
]]
-- Answers {batch, tenant}, or {}.
return {take_batch('sizing', ms)}
