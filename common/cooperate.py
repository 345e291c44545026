"""Sharing a process: long work in the web tier lets others be served in between."""

from __future__ import annotations

import threading
import time

MOMENT = 1e-6  # seconds
LONG = 0.02  # seconds of work after which others are served

_giving_way = threading.Lock()


def give_way() -> None:
    """Let whoever is ready go on. Under gevent a sleep of 0 looks for new input at every fiftieth
    call only.

    Of several that give way at once, one after the other goes on: a request that only reads then
    waits for one piece of their work at a time, however many there are.
    """
    with _giving_way:
        time.sleep(MOMENT)


class Steps:
    """Work of many small steps that gives way whenever it has lasted long enough."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def step(self) -> None:
        """Call it after each step."""
        if time.monotonic() - self._since > LONG:
            give_way()
            self._since = time.monotonic()
