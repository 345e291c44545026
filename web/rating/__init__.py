"""The page of people who rate outputs without an account, and its API; imports no dialect."""
