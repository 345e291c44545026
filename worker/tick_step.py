"""Runs the ticker in a Celery worker that has no model, even if it is the only worker: deadlines,
leases and retries depend on it."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, ClassVar

from celery import bootsteps

from common.errors import ConfigError, Unavailable
from common.rings import RingSender
from common.settings import Settings
from common.store.connection import START_WAIT, connect, when_up
from common.store.fleet import Fleet
from common.store.version import meet_store
from worker.ticker import Ticker

REDIS_WAIT = 2.0  # seconds for a reply: a call on a dead connection must fail soon

log = logging.getLogger(__name__)


class TickStep(bootsteps.StartStopStep):
    """A subclass says with which `settings` it runs, and through what it rings; that is closed when
    the worker ends."""

    settings: ClassVar[Settings]
    ring_sender: ClassVar[RingSender]

    def __init__(self, parent: Any, **options: Any):
        super().__init__(parent, **options)
        self._client = connect(self.settings.redis_url, socket_timeout=REDIS_WAIT)
        self._ticker = Ticker(Fleet(self._client), self.ring_sender, self.settings)

    def start(self, _parent: Any) -> None:
        try:
            when_up(self._client, START_WAIT, partial(meet_store, self._client))
        except (ConfigError, Unavailable) as error:
            log.critical("%s", error)
            raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
        self._ticker.start()

    def stop(self, _parent: Any) -> None:
        self._ticker.stop()
        self.end_turn()

    def end_turn(self) -> None:
        """End the turn that a ring began in this process, if one runs."""
