-- end_sizing(batch, tenant): its files are whole and measured, or it is gone. Answers 1.
unqueue_batch('sizing', ARGV[2], ARGV[1])
return 1
