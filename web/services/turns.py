"""Lets tenants take turns at work of which a process does only so much at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import Unavailable


class Turns:
    """One per kind of work. `most` are at it at once, of one tenant one; its others wait, at most
    `waiting` of them, and no longer than `patience` seconds. Tenants that wait are served in
    turn, however many requests each has. `work` is what it is, in the message of the refusal."""

    def __init__(self, work: str, *, most: int, waiting: int, patience: float):
        self._work = work
        self._most = most
        self._waiting = waiting
        self._patience = patience
        self._lock = threading.Lock()
        self._at_it: set[str] = set()
        # By tenant, in the order in which they are served.
        self._queues: dict[str, deque[threading.Event]] = {}

    @contextmanager
    def turn(self, tenant: str) -> Iterator[None]:
        """
        Raises:
            Unavailable: too many of the tenant wait already, or it waited too long.
        """
        self._wait(tenant)
        try:
            yield
        finally:
            with self._lock:
                self._at_it.discard(tenant)
                self._admit()

    def _wait(self, tenant: str) -> None:
        called = threading.Event()
        with self._lock:
            queue = self._queues.setdefault(tenant, deque())
            if len(queue) >= self._waiting:
                raise self._refusal()
            queue.append(called)
            self._admit()
        if called.wait(self._patience):
            return
        with self._lock:
            if called.is_set():  # at the last moment
                return
            self._queues[tenant].remove(called)
            if not self._queues[tenant]:
                del self._queues[tenant]
        raise self._refusal()

    def _admit(self) -> None:
        """Call those whose turn it is."""
        for tenant in list(self._queues):
            if len(self._at_it) >= self._most:
                return
            if tenant in self._at_it:
                continue
            queue = self._queues.pop(tenant)
            queue.popleft().set()
            self._at_it.add(tenant)
            if queue:
                self._queues[tenant] = queue  # behind the others

    def _refusal(self) -> Unavailable:
        return Unavailable(f"too many {self._work} are waiting here; try again")
