"""An evaluator as it is deployed."""

from __future__ import annotations

from pathlib import Path

from tests.support.parts import Part


class EvaluatorPart(Part):
    """A Celery process of its own."""

    def __init__(self, redis_url: str, log: Path, **settings: object):
        words = ("celery", "-A", "worker.evaluator", "worker", "--loglevel=INFO")
        alone = ("--without-gossip", "--without-mingle")
        super().__init__((*words, *alone), redis_url, log, **settings)
