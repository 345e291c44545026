"""A turn that a process begins by itself, because after a long outage Celery receives nothing for
half a minute."""

from __future__ import annotations

import threading
from collections.abc import Callable


class LocalTurn:
    """Runs `work` in a thread, once at a time."""

    def __init__(self, work: Callable[[], None]):
        self._work = work
        self._thread = threading.Thread()

    def begin(self) -> bool:
        """Begin a turn. False where the last one still runs."""
        if self._thread.is_alive():
            return False
        self._thread = threading.Thread(target=self._work, name="turn", daemon=True)
        self._thread.start()
        return True

    def close(self, seconds: float) -> None:
        """Wait for the turn to end, which must have been told to: Celery waits only for its own
        threads."""
        if self._thread.is_alive():
            self._thread.join(seconds)
