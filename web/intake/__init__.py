"""From what was sent to checked items in the queue. Knows nothing of Flask's requests or of
dialects."""
