"""Lets other requests of the process run during long work, which gevent does not interrupt."""

from __future__ import annotations

import threading
import time

MOMENT = 1e-6  # seconds
LONG = 0.02  # seconds of work after which other requests run

_giving_way = threading.Lock()


def give_way() -> None:
    """Let other requests run. Under gevent a sleep of 0 would look for new input only at every
    fiftieth call.

    Of several callers one continues at a time, so that a short request waits for one step of long
    work, however many such requests there are.
    """
    with _giving_way:
        time.sleep(MOMENT)


class Steps:
    """Counts the time of work in many small steps, and gives way when it has lasted `LONG`."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def step(self) -> None:
        """Call it after each step."""
        if time.monotonic() - self._since > LONG:
            give_way()
            self._since = time.monotonic()
