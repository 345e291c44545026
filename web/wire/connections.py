"""The open connections of a process, and which it closes when there are many.

Each wait for a client takes a connection, of which there are only so many. When nearly all are
open, the process closes those that have waited longest, of the address with most of them, so that
there is one for the next client and the health check. Knows no app."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heapreplace
from typing import Any, TypeVar

from gevent.local import local

from web.wire.connection import Connection

T = TypeVar("T")

ROOM = 64  # connections closed at once when nearly all are open
LOG_PAUSE = 10.0  # seconds between two lines in the log about closed connections

log = logging.getLogger(__name__)


class Connections:
    """All connections of a process. At most `most` are open at once; the last `reserve` of them
    only for a moment, until others are closed."""

    def __init__(self, most: int, reserve: int):
        self._limit = most - reserve
        self._open = 0  # without those that are shed
        self._waiting: dict[Connection, float] = {}  # for their clients, since when (monotonic)
        self._current = local()
        self._logged_at = 0.0

    @contextmanager
    def open(self, client: Any, address: str) -> Iterator[Connection]:
        """Count a connection while it is open; it is `current` in this greenlet."""
        self._open += 1
        if self._open > self._limit:
            self._make_room()
        connection = self._current.connection = Connection(client, address, self._waiting)
        try:
            yield connection
        finally:
            self._open -= not connection.is_shed

    @property
    def current(self) -> Connection:
        found: Connection = self._current.connection
        return found

    def leave(self) -> None:
        """Close all connections without a request under way."""
        for connection in list(self._waiting):
            if connection.idle:
                connection.shed()

    def _make_room(self) -> None:
        """Close some of those that wait."""
        oldest_first = sorted(self._waiting, key=lambda connection: self._waiting[connection])
        closed = to_close(((each.address, each) for each in oldest_first if each.may_close), ROOM)
        for connection in closed:
            connection.shed()
        self._open -= len(closed)
        if time.monotonic() - self._logged_at > LOG_PAUSE:
            self._logged_at = time.monotonic()
            log.warning(
                "%d connections are open, nearly as many as can be: closed %d",
                self._open,
                len(closed),
            )


def to_close(waiting: Iterable[tuple[str, T]], count: int) -> list[T]:
    """Choose up to `count` of what waits, given with its address and in the order in which it began
    to wait. Each time it is the one that has waited longest, of the address with most of them."""
    lines: defaultdict[str, deque[T]] = defaultdict(deque)
    for address, each in waiting:
        lines[address].append(each)
    longest = [(-len(line), address) for address, line in lines.items()]
    heapify(longest)
    found: list[T] = []
    while longest and len(found) < count:
        _, address = longest[0]
        found.append(lines[address].popleft())
        if left := len(lines[address]):
            heapreplace(longest, (-left, address))
        else:
            heappop(longest)
    return found
