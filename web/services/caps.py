"""Limits how many streams and chats one tenant may have open at once, over all web processes, so
that there is room for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.store.grants import Grant
from common.store.permits import Kind
from web.services.services import Services
from web.services.watch import Watch

STREAMS = Kind("stream", "event streams and long-polls")
CHATS = Kind("chat", "chats and completions", ahead=16)  # there are hundreds a second


@contextmanager
def open_stream(
    services: Services, grant: Grant, job_id: str, gone: Callable[[], bool]
) -> Iterator[Watch]:
    """A watch of a job for an event stream or a long-poll. It ends when the key or session of the
    request ends, and when its client is `gone`.

    Raises:
        TooMany: the tenant has as many open as it may.
        Unavailable: this process has as many open as it can.
    """
    most = services.settings.max_streams
    with (
        services.permits.hold(STREAMS, grant.tenant, most),
        services.watches.open(job_id) as watch,
        services.guard.guarded(grant, watch),
    ):
        watch.gone = gone
        yield watch


@contextmanager
def open_chat(services: Services, grant: Grant, job_id: str) -> Iterator[Watch]:
    """The same for a chat or a completion."""
    most = services.settings.max_chats
    with (
        services.permits.hold(CHATS, grant.tenant, most),
        services.watches.open(job_id, chat=True) as watch,
        services.guard.guarded(grant, watch),
    ):
        yield watch
