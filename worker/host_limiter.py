"""Limits how often a tenant's webhooks call one host, so that a host that does not answer does not
delay the tenant's deliveries to others.

Knows neither the store nor HTTP. Each process has its own limits.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass

MOST_PER_HOST = 4  # calls of one tenant to a host at the same time
PAUSE = 1.0  # seconds until an event is looked at again whose host has that many
LONGEST_PAUSE = 60.0  # seconds without calls to a host that does not answer
MOST_SILENT = 10_000  # hosts that are remembered as silent

Host = tuple[str, str]  # tenant, and name or address


@dataclass(frozen=True)
class _Silence:
    """A host whose last call got no answer."""

    times: int  # calls without an answer in a row, counted up to 4
    until: float  # when the host may be called again, by the monotonic clock


class HostLimiter:
    """Allows a few calls to a host at the same time; after a call without answer only one, and none
    for as long as that call took, twice as long after the next, and so on.

    Hosts are counted for each tenant, because other tenants' calls to the same name may have been
    to other paths or ports. Safe for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[Host] = Counter()  # under way
        self._silent: OrderedDict[Host, _Silence] = OrderedDict()  # oldest call first

    def enter(self, host: Host) -> float:
        """Seconds until the host may be called. If 0, the caller must call `leave` afterwards."""
        with self._lock:
            calls, silence = self._calls[host], self._silent.get(host)
            if calls >= (1 if silence else MOST_PER_HOST):
                return PAUSE * random.uniform(0.9, 1.1)
            wait = silence.until - time.monotonic() if silence else 0.0
            if wait > 0:
                return wait * random.uniform(1.0, 1.1)
            self._calls[host] += 1
            return 0.0

    def leave(self, host: Host, *, answered: bool, seconds: float) -> None:
        """A call has ended that took `seconds`."""
        with self._lock:
            self._calls[host] -= 1
            if not self._calls[host]:
                del self._calls[host]
            before = self._silent.pop(host, None)
            if answered:
                return
            times = min(before.times + 1, 4) if before else 1
            pause = min(LONGEST_PAUSE, seconds * 2.0 ** (times - 1))
            self._silent[host] = _Silence(times, time.monotonic() + pause)
            while len(self._silent) > MOST_SILENT:
                self._silent.popitem(last=False)
