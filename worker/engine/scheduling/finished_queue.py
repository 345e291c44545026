"""Finished requests on their way from an engine to its holder, who waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from common.generation import Finished


class FinishedQueue:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the next two
        self._finished: list[Finished] = []
        self._poked = False

    def put(self, finished: Iterable[Finished]) -> None:
        with self._changed:
            self._finished.extend(finished)
            self._changed.notify_all()

    def collect(self, timeout: float) -> list[Finished]:
        """What finished since the last call; if nothing did, waits up to `timeout` seconds for
        that or for `poke`."""
        with self._changed:
            if not self._finished and not self._poked and timeout > 0:
                self._changed.wait(timeout)
            self._poked = False
            finished, self._finished = self._finished, []
            return finished

    def poke(self) -> None:
        """Make a waiting `collect` return now."""
        with self._changed:
            self._poked = True
            self._changed.notify_all()
