"""The Celery workers: one generates text with a model, one delivers webhooks. Imports `common`;
never `web` or Flask."""
