-- Removes files that were deleted, or have expired, from their tenant's list.
--[[ arguments
tenant           the tenant
rest             file, ...
]]
-- Answers how many were in it.
local left = 0
for i = REST, #ARGV do left = left + forget_file(ARGV[i], tenant) end
return left
