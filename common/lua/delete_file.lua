-- delete_file(file): remove it, now.
forget_file(ARGV[1])
return 1
