-- Answers the batch whose files are to be measured next, tenants in turn.
--[[ arguments
ms               number: how long nobody else is told of it
]]
-- Answers {batch, tenant}, or {}.
return {take_batch('sizing', ms)}
