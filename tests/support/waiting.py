"""Waits for what must become true, by looking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
PAUSE = 0.02  # seconds between two looks


def wait_until(
    condition: Callable[[], T | None],
    why: str | Callable[[], object] = "it took too long",
    limit: float = 60.0,
) -> T:
    """What `condition` answers once that is true; fails with `why` after `limit` seconds."""
    end = time.monotonic() + limit
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"not within {limit:.0f} s: {why() if callable(why) else why}")
        time.sleep(PAUSE)
    return found
