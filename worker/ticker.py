"""The ticker: calls the store's tick, which ends leases, deadlines and retentions when they are
over. Every worker has one; the store carries out one full tick a second."""

from __future__ import annotations

import logging
import threading

from common.errors import Unavailable
from common.rings import RingSender
from common.settings import Settings
from common.store.fleet import Fleet

log = logging.getLogger(__name__)

PERIOD = 1.0  # seconds


class Ticker(threading.Thread):
    """Ticks each second, and earlier when something is due, until it is stopped. Sends the rings
    that a tick finds missing."""

    def __init__(self, fleet: Fleet, ring_sender: RingSender, settings: Settings):
        super().__init__(name="ticker", daemon=True)
        self._fleet = fleet
        self._ring_sender = ring_sender
        self._settings = settings
        self._stop_now = threading.Event()

    def run(self) -> None:
        while True:
            wait = PERIOD
            try:
                wait = self._tick()
            except Unavailable as error:
                log.warning("no tick: %s", error)
            except Exception:  # without ticks no lease would ever expire: one may fail, not all
                log.exception("a tick failed; the next one follows")
            if self._stop_now.wait(wait):
                return

    def _tick(self) -> float:
        """Tick once; returns the seconds until the next."""
        tick = self._fleet.tick(
            self._settings.lease, self._settings.max_attempts, self._settings.retention_bytes
        )
        for incarnation in tick.reaped:
            log.warning("worker %s lost its lease; its items go to other workers", incarnation)
        if tick.hooked:
            self._ring_sender.wake_webhooks(rung=tick.rung)
        if tick.evaluate:
            self._ring_sender.wake_evaluator()
        for model, count in tick.rings.items():
            self._ring_sender.send(model, count)
        return min(PERIOD, tick.next_due)

    def stop(self) -> None:
        self._stop_now.set()
        self.join(timeout=10)
