"""The Celery workers, one that generates texts and one that delivers webhooks; never import
`web`."""
