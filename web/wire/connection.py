"""One client's connection, with limits to each wait for the client.

A client has to send its headers within seconds, its body at a least rate, and to read what it is
sent. Works on gevent's sockets, for gunicorn; knows no app.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from gevent.monkey import get_original
from gunicorn.http.errors import NoMoreData

from common.errors import PromptmillError, Unavailable

# Seconds until the next request. Proxies keep theirs for a shorter time, so that they never send
# into a connection that is being closed.
KEEP = 75.0
HEAD = 10.0  # seconds from a request's first byte until its headers are here
BODY = 10.0  # seconds waited for a body, besides what its bytes give
BODY_RATE = 1024  # bytes that give a body another second
LONGEST_BODY = 3600.0  # seconds waited for a body in all
SLOW = 1.0  # seconds waited for a body after which it counts as a slow one
SEND = 30.0  # seconds until a client takes a piece of what it is sent
STUCK = 5.0  # seconds after which it may be closed for others
PIECE = 64 * 2**10  # bytes of such a piece
# Bytes of a request's first line, of which most is the address with its query: as many as gunicorn
# can be told.
MOST_REQUEST_LINE = 8190
LINGER = 0.5  # seconds in which a client whose body was refused can read that

REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BodyTooSlow(PromptmillError):
    """The client sends its body more slowly than it may."""

    status = 408
    code = "body_too_slow"


class Phase(Enum):
    """What a connection is doing."""

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
        """Does nothing: gunicorn would take the limits off."""

    def wait_for_request(self) -> None:
        self._enter(Phase.IDLE)

    def begin_request(self, count_slow: Callable[[], Callable[[], None]]) -> None:
        """The headers of a request are here; what is received from now on is its body. If that is
        slow, `count_slow` is called: it returns what to call at the request's end, or raises the
        error to answer."""
        self._enter(Phase.BUSY)
        self._count_slow = count_slow

    def end_request(self) -> None:
        if self._end_slow:
            self._end_slow()
        self._count_slow = self._end_slow = None

    def close(self) -> None:
        """Close it. A client whose body was refused half-way is still sending: if the connection
        were closed at once, it might never see the answer."""
        if self._refused:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
                self._socket.settimeout(LINGER)
                while self._socket.recv(PIECE) and time.monotonic() < self._since + LINGER:
                    pass
        self._socket.close()

    @property
    def idle(self) -> bool:
        """It has no request under way."""
        return self._phase is not Phase.BUSY

    @property
    def may_close(self) -> bool:
        """Whether it may be closed while it waits for its client: not if it began to send something
        only a moment ago."""
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
        """Receive some bytes.

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
        """How many seconds the client may take from now on."""
        if self._phase is Phase.IDLE:
            return KEEP - self._waited
        if self._phase is Phase.HEAD:
            return HEAD - self._waited
        limit = min(BODY + self._received / BODY_RATE, LONGEST_BODY)
        return (limit if self._end_slow else SLOW) - self._waited

    def _receive(self, size: int, seconds: float) -> bytes | None:
        """What arrives within so many seconds, else None; empty if the client closed."""
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
    """A function that tells whether the client of a connection (gunicorn's `gunicorn.socket`) has
    closed it. Without a connection it never has."""
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
