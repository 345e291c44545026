"""Following a job while it runs, for every dialect."""
