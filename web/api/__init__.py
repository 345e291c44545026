"""The native API: jobs, models, workers, metrics."""
