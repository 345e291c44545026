"""Sharing a process: long work in the web tier lets others be served in between."""

from __future__ import annotations

import time

MOMENT = 1e-6  # seconds


def give_way() -> None:
    """Let whoever is ready go on. Under gevent a sleep of 0 looks for new input at every fiftieth call only."""
    time.sleep(MOMENT)
