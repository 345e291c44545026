"""What the request handlers use: one object of each kind per process."""
