-- forget_files(tenant, file, ...): files that were deleted, or have expired, and leave their tenant's list. Answers how many did.
local left = 0
for i = 2, #ARGV do left = left + forget_file(ARGV[i], ARGV[1]) end
return left
