"""The web tier as it is deployed, with workers that a test starts and kills, and the client."""

from __future__ import annotations

from pathlib import Path

from common.store.fleet import Fleet
from tests.support.deployment import Deployment
from tests.support.workers import Workers

DELAY = 0.02  # seconds a word takes the echo engine


class Stack(Deployment):
    """A web process and workers of the echo engine; `client` has the key of a tenant."""

    def __init__(self, url: str, folder: Path, **settings: object):
        super().__init__(url, folder)
        self.workers = Workers(url, folder)
        self.web(model=None, lease=None, grace=None, log_format="json", **settings)

    def held(self) -> int:
        """Items that workers run right now."""
        return sum(worker.held for worker in Fleet(self.redis).workers())

    def close(self) -> None:
        self.workers.stop_all()
        super().close()
