"""Accepts connections faster than it handles them, and handles those with a complete request first.

To start handling thousands of new connections takes longer than a client likes to wait. A client
that has sent its complete request needs only an answer, so it comes first. The others follow, the
newest first, a few in each round of the event loop, so that slow clients do not hold up fast ones.
When there is hardly room for more connections, some without a complete request are closed, so that
the next client does not have to wait for them.
"""

from __future__ import annotations

import re
import socket
from typing import Any

import gevent
from gevent.server import StreamServer

from web.wire.connections import to_close

ROUND = 0.001  # seconds, at least, so that the event loop looks at all sockets in between
# Connections without a complete request that are handled in one round: a few milliseconds.
BEGIN = 4
MOST_ACCEPTED = 128  # in one round
RESERVE = 10  # one of so many places in the pool is kept free
LOOK = 256  # connections looked at in one round
LOOKS = 5  # rounds in which not one byte of a request may have come
PEEK = 16 * 2**10  # bytes looked at

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)

Accepted = tuple[Any, ...]  # a socket, and its client's address


class Listener(StreamServer):
    """Several processes may listen on one address. Each accepts one connection in a round, and one
    more in the next if there was one, so that connections that come one by one are shared. A tenth
    of the pool is kept free of connections that wait here."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._new: list[tuple[int, Accepted]] = []  # and how often they were looked at
        self._slow: list[Accepted] = []
        self._begins = False
        self.max_accept = 1  # in the next round
        self.full = self._is_full  # gevent has set that of the pool

    def do_read(self) -> Any:
        accepted = super().do_read()
        self.max_accept = 1 if accepted is None else min(self.max_accept + 1, MOST_ACCEPTED)
        return accepted

    def do_handle(self, *connection: Any) -> None:
        self._new.append((0, connection))
        if not self._begins:
            self._begins = True
            gevent.spawn(self._begin)

    @property
    def _open(self) -> int:
        return len(self.pool) + len(self._new) + len(self._slow)

    def _is_full(self) -> bool:
        return self._open >= self.pool.size

    def _make_room(self) -> None:
        excess = self._open - (self.pool.size - self.pool.size // RESERVE)
        if excess <= 0 or not self._slow:
            return
        closed = set(to_close(((each[1][0], each) for each in self._slow), excess))
        self._slow = [each for each in self._slow if each not in closed]
        for client, _ in closed:
            client.close()
        self._start_accepting_if_started()

    def _begin(self) -> None:
        while self._new or self._slow:
            looked, self._new = self._new[-LOOK:], self._new[:-LOOK]
            for looks, connection in looked:
                whole = is_whole(connection[0])
                if whole:
                    super().do_handle(*connection)
                elif whole is None and looks < LOOKS:
                    self._new.append((looks + 1, connection))
                else:
                    self._slow.append(connection)
            self._make_room()
            for connection in reversed(self._slow[-BEGIN:]):
                self._slow.pop()
                super().do_handle(*connection)
            gevent.sleep(ROUND)
        self._begins = False
        self._start_accepting_if_started()


def is_whole(client: Any) -> bool | None:
    """Whether a complete request has come; None if not one byte has. Large requests, and those that
    are not understood here, do not count as complete."""
    try:
        head, end, body = client._sock.recv(PEEK, socket.MSG_PEEK).partition(b"\r\n\r\n")
    except BlockingIOError:
        return None
    except OSError:
        return False  # the client is gone
    length = LENGTH.search(head + b"\r\n")
    return bool(end) and not CHUNKED.search(head) and len(body) >= (int(length[1]) if length else 0)
