-- claim_sizing(ms): the batch whose files are to be measured next, tenants in turn; nobody else is told of it for `ms`.
-- Answers {batch, tenant}, or {}.
return {take_batch('sizing', tonumber(ARGV[1]))}
