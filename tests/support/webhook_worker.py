"""A webhook worker as it is deployed."""

from __future__ import annotations

from pathlib import Path

from tests.support.cards import card
from tests.support.parts import Part

CARD = card(digest="d", context=64)


class WebhookWorker(Part):
    """A Celery process of its own; settings are PROMPTMILL_ variables in lower case."""

    def __init__(self, redis_url: str, log: Path, queue: str = "webhooks", **settings: object):
        alone = ("--without-gossip", "--without-mingle")
        words = ("celery", "-A", "worker.webhooks", "worker", "-Q", queue, *alone)
        super().__init__(words, redis_url, log, **{"webhook_backoff": 0.05, **settings})
