"""The pages for browsers: the submit form, jobs, workers, the login; imports no other dialect."""
