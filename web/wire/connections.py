"""The open connections of a process: how long it waits for their clients, and which it closes when
there are many.

A client has to send its headers within seconds and its body at a least rate, and to read what it is
sent. Each wait for a client takes a connection, of which there are only so many. When nearly all
are open, the process closes those that have waited longest, of the address with most of them, so
that there is one for the next client and the health check.

Works on gevent's sockets, for gunicorn; knows no app.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from heapq import heapify, heappop, heapreplace
from typing import Any, TypeVar

from gevent.local import local
from gevent.monkey import get_original
from gunicorn.http.errors import NoMoreData

from common.errors import PromptmillError, Unavailable

T = TypeVar("T")

# Seconds until the next request; longer than proxies keep theirs, so they never send into a closing
# one.
KEEP = 75.0
HEAD = 10.0  # seconds from a request's first byte until its headers are here
BODY = 10.0  # seconds waited for a body, besides what its bytes give
BODY_RATE = 1024  # bytes that give a body another second
LONGEST_BODY = 3600.0  # seconds waited for a body in all
SLOW = 1.0  # seconds waited for a body after which it counts as a slow one
SEND = 30.0  # seconds until a client takes a piece of what it is sent
STUCK = 5.0  # seconds after which it may be closed for others
PIECE = 64 * 2**10  # bytes of such a piece
LINGER = 0.5  # seconds in which a client whose body was refused can read that
ROOM = 64  # connections closed at once when nearly all are open
TELL = 10.0  # seconds between two lines in the log that say so

REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

log = logging.getLogger(__name__)


class BodyTooSlow(PromptmillError):
    """The client sends its body more slowly than it may."""

    status = 408
    code = "body_too_slow"


class Phase(Enum):
    IDLE = "waits for a request"
    HEAD = "waits for a request's headers"
    BUSY = "has a request under way"


class Connection:
    """A client's socket as gunicorn uses it, with limits to each wait for the client."""

    def __init__(self, client: Any, address: str, waiting: dict[Connection, float]):
        self.address = address
        self._socket = client
        self._socket.settimeout(SEND)
        self._waiting = waiting
        self._sends = self._refused = False
        self.is_shed = False  # it ends as soon as its greenlet's turn comes
        self._count_slow: Callable[[], Callable[[], None]] | None = None
        self._end_slow: Callable[[], None] | None = None
        self.wait_for_request()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def setblocking(self, _flag: bool) -> None:
        """Gunicorn would take the limits off."""

    def wait_for_request(self) -> None:
        self._enter(Phase.IDLE)

    def begin_request(self, count_slow: Callable[[], Callable[[], None]]) -> None:
        """Its headers are here; what is received from now on is its body. If that turns out to be a
        slow one, `count_slow` is called: it answers what to call at the request's end, or raises
        what to answer."""
        self._enter(Phase.BUSY)
        self._count_slow = count_slow

    def end_request(self) -> None:
        if self._end_slow:
            self._end_slow()
        self._count_slow = self._end_slow = None

    def close(self) -> None:
        """Where a body was refused half-way, its client is still sending: closed at once, it might
        never see why."""
        if self._refused:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.settimeout(LINGER)
                while self._socket.recv(PIECE) and time.monotonic() < self._since + LINGER:
                    pass
        self._socket.close()

    @property
    def idle(self) -> bool:
        """No request of it is under way."""
        return self._phase is not Phase.BUSY

    @property
    def may_close(self) -> bool:
        """While it waits for its client: unless that has only just been sent something."""
        if self.is_shed:
            return False
        return not self._sends or time.monotonic() - self._waiting[self] > STUCK

    def shed(self) -> None:
        """Close it in the middle of a wait for its client. A request whose body is waited for is
        still answered."""
        self.is_shed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR if self._sends else socket.SHUT_RD)

    def recv(self, size: int) -> bytes:
        """What came.

        Raises:
            NoMoreData: instead of a request; the connection is to be closed.
            BodyTooSlow, TooMany, Unavailable: instead of a body, to be answered.
        """
        try:
            data = self._recv(size)
        except PromptmillError:
            self._refused, self._since = True, time.monotonic()
            raise
        self._received += len(data)
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        return data

    def _recv(self, size: int) -> bytes:
        while True:
            if self._count_slow and not self._end_slow and self._waited >= SLOW:
                self._end_slow = self._count_slow()
            if (left := self._left()) <= 0:
                raise self._too_slow()
            data = self._receive(size, left)
            if self.is_shed:
                raise self._was_shed()
            if data is not None:
                return data

    def sendall(self, data: Any, *_flags: int) -> None:
        view = memoryview(data)
        for first in range(0, len(view), PIECE):
            self._waiting[self], self._sends = time.monotonic(), True
            try:
                self._socket.sendall(view[first : first + PIECE])
            except OSError as error:
                if isinstance(error, TimeoutError) or self.is_shed:
                    raise BrokenPipeError(
                        errno.EPIPE, "the client does not read what it is sent"
                    ) from None
                raise
            finally:
                self._sends = False
                self._waiting.pop(self)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = time.monotonic()
        self._waited = 0.0  # seconds in this phase
        self._received = 0  # bytes in this phase

    def _left(self) -> float:
        """Seconds that the client may take from now on."""
        if self._phase is Phase.IDLE:
            return KEEP - self._waited
        if self._phase is Phase.HEAD:
            return HEAD - self._waited
        limit = min(BODY + self._received / BODY_RATE, LONGEST_BODY)
        return (limit if self._end_slow else SLOW) - self._waited

    def _receive(self, size: int, seconds: float) -> bytes | None:
        """What comes within so many seconds, else None; empty where the client closed."""
        began = time.monotonic()
        self._waiting[self] = self._since
        self._socket.settimeout(seconds)
        try:
            data: bytes = self._socket.recv(size)
            return data
        except OSError as error:
            if isinstance(error, TimeoutError) or self.is_shed:
                return None
            raise
        finally:
            self._waited += time.monotonic() - began
            self._socket.settimeout(SEND)
            self._waiting.pop(self)

    def _too_slow(self) -> Exception:
        if self._phase is Phase.BUSY:
            return BodyTooSlow(
                f"a request's body must come within {BODY:.0f} s, or at {BODY_RATE} bytes/s and "
                "more"
            )
        if self._phase is Phase.HEAD:
            with suppress(OSError):
                self._socket.sendall(REQUEST_TIMEOUT)
        return NoMoreData()

    def _was_shed(self) -> Exception:
        if self._phase is Phase.BUSY:
            return Unavailable(
                "too many connections are open, and this one waited longest for its body; try again"
            )
        return NoMoreData()


PlainSocket = get_original("socket", "socket")  # gevent's own would wait for something to read


def hung_up(connection: Any) -> Callable[[], bool]:
    """Asks whether the client of a connection (gunicorn's `gunicorn.socket`) has closed it; without
    one, never."""
    if connection is None:
        return lambda: False

    def closed() -> bool:
        try:
            copy = PlainSocket(fileno=os.dup(connection.fileno()))
        except OSError:
            return True
        with copy:
            try:
                return bool(copy.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"")
            except BlockingIOError:
                return False
            except OSError:
                return True

    return closed


class Connections:
    """All of a process; `most` are open at once, and the last `reserve` of them only for a
    moment."""

    def __init__(self, most: int, reserve: int):
        self._limit = most - reserve
        self._open = 0  # without those that are shed
        self._waiting: dict[Connection, float] = {}  # for their clients, since when (monotonic)
        self._current = local()
        self._told_at = 0.0

    @contextmanager
    def open(self, client: Any, address: str) -> Iterator[Connection]:
        """A connection, as long as it is open; `current` in this greenlet."""
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
        """Close all that have no request under way."""
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
        if time.monotonic() - self._told_at > TELL:
            self._told_at = time.monotonic()
            log.warning(
                "%d connections are open, nearly as many as can be: closed %d",
                self._open,
                len(closed),
            )


def to_close(waiting: Iterable[tuple[str, T]], count: int) -> list[T]:
    """Up to `count` of what waits, with its address and in the order in which it began to: again
    and again, of the address that has most, what has waited longest."""
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
