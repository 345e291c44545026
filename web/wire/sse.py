"""Server-sent events: how they are written, what keeps a silent stream open, and the headers of the
answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from flask import Response

from common.store.packing import one_line

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0  # seconds of silence after which a comment is sent; proxies wait for longer
COMMENT = b": still here\n\n"  # ignored by clients
AT_ONCE = 64  # events: other requests go on between two writes


def event(data: bytes, name: str | None = None, id_: str | None = None) -> bytes:
    """One event. `data` is JSON, or other text of one line; `id_` comes back as `Last-Event-ID`."""
    head = f"id: {id_}\n" if id_ is not None else ""
    if name is not None:
        head += f"event: {name}\n"
    return head.encode() + b"data: " + one_line(data) + b"\n\n"


def joined(events: Iterator[bytes]) -> Iterator[bytes]:
    """The same events, those that are there at once in one write: each write is a system call, and
    wakes the client."""
    while part := b"".join(islice(events, AT_ONCE)):
        yield part


def answer(events: Iterable[bytes], close: Callable[[], None]) -> Response:
    """The answer that sends these events. `close` is called at its end, also where the client is
    gone before the first of them."""
    response = Response(events, content_type=MEDIA_TYPE)
    response.call_on_close(close)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response
