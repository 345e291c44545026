"""How long another tenant waits for answers while something else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.lib.background import in_background
from bench.lib.noisy_tenants import ask
from bench.lib.stack import Stack

PAUSE = 0.02  # seconds between two requests of the other tenant


@contextmanager
def waits(stack: Stack, key: str) -> Iterator[list[float]]:
    """Seconds that each of the other tenant's requests took while the block ran; 60 more for one
    that failed. Each goes over a connection of its own, which any of the web processes may get."""
    found: list[float] = []

    def request(ended: threading.Event) -> None:
        while not found or not ended.wait(PAUSE):
            began = time.monotonic()
            status, _ = ask(stack, "GET", "/v1/jobs", key)
            found.append(time.monotonic() - began + (60.0 if status != 200 else 0.0))

    with in_background(request):
        yield found
