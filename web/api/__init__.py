"""The native API: views of jobs, models, workers and metrics; imports no other dialect."""
