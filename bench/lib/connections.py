"""Many kept-open connections to one HTTP server, driven from one thread so that they cost little.

Knows just enough HTTP for our own server's answers: a status, and a length or chunks.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

LENGTH = b"content-length: "


class Connection:
    """One of them: sends a request, and gathers what comes back."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0  # monotonic seconds

    def send(self, request: bytes) -> None:
        self.received = b""
        self.sent_at = time.monotonic()
        self.socket.sendall(request)

    def receive(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise RuntimeError(f"the server hung up after {self.received[:200]!r}")
        self.received += piece
        if not self.received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"answered {self.received[:500]!r}")

    @property
    def whole(self) -> bool:
        """The answer is complete."""
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return False
        at = head.lower().find(LENGTH)
        if at < 0:
            return body.endswith(b"0\r\n\r\n")
        return len(body) >= int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])


def request(port: int, key: str, path: str, body: bytes) -> bytes:
    """A POST, ready to be sent."""
    head = [
        f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {key}",
        "Content-Type: application/json", f"Content-Length: {len(body)}",
    ]  # fmt: skip
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def drive(connections: list[Connection], step: Callable[[Connection], bool], limit: float) -> None:
    """Call `step` whenever a connection received something, until it has said False to each;
    `limit` is in seconds."""
    deadline = time.monotonic() + limit
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = selector.select(timeout=1.0)
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{len(selector.get_map())} connections were not done after {limit:.0f} s"
                )
            for key, _ in ready:
                key.data.receive()
                if not step(key.data):
                    selector.unregister(key.fileobj)
