-- The files of a batch are whole and measured, or it is gone.
--[[ arguments
id               the batch
tenant           its tenant
]]
-- Answers 1.
unqueue_batch('sizing', tenant, id)
return 1
