"""The pages for browsers: a form to submit, jobs, the fleet."""
