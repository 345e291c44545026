"""The ticker: lets time pass for the store. Every worker runs one; the store lets one through a
second."""

from __future__ import annotations

import logging
import threading

from common.errors import Unavailable
from common.rings import Bell
from common.settings import Settings
from common.store.fleet import Fleet

log = logging.getLogger(__name__)

PERIOD = 1.0  # seconds


class Ticker(threading.Thread):
    """Ticks each second, and when a deadline comes, until stopped; rings whoever the tick found
    missing."""

    def __init__(self, fleet: Fleet, bell: Bell, settings: Settings):
        super().__init__(name="ticker", daemon=True)
        self._fleet = fleet
        self._bell = bell
        self._settings = settings
        self._stop_now = threading.Event()

    def run(self) -> None:
        while True:
            wait = PERIOD
            try:
                wait = self._tick()
            except Unavailable as error:
                log.warning("no tick: %s", error)
            except Exception:  # without ticks nothing is reaped; one bad tick must not end them all
                log.exception("tick failed; trying on")
            if self._stop_now.wait(wait):
                return

    def _tick(self) -> float:
        """Seconds until the next."""
        tick = self._fleet.tick(
            self._settings.lease, self._settings.max_attempts, self._settings.retention_bytes
        )
        for incarnation in tick.reaped:
            log.warning("worker %s lost its lease; its items go on elsewhere", incarnation)
        if tick.hooked:
            self._bell.deliver(rung=tick.rung)
        for model, count in tick.rings.items():
            self._bell.ring(model, count)
        return min(PERIOD, tick.next_due)

    def stop(self) -> None:
        self._stop_now.set()
        self.join(timeout=10)
