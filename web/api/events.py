"""A job as a stream of server-sent events.

    event: job             the job, at the start and whenever its state or counts changed
    event: item.delta      what an item submitted with `stream: true` says next, while it runs
    event: item.finished   a result row
    event: job.finished    the job as it ended; the last event

The `id` of an event says which finished items and which tokens the reader has: where to go on from.

A stream ends after five minutes even if the job goes on: clients reconnect with `Last-Event-ID` and
miss nothing. Items that were cancelled or expired before they ran have no event of their own; the
job's counts tell them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from pydantic_core import to_json

from common.errors import NotFound, Unavailable
from common.store.grants import Grant
from web.follow.stream_cursor import StreamCursor, new_entries
from web.jobs.views import job_view
from web.schemas.answers import JobView
from web.services.caps import open_stream
from web.services.services import Services
from web.services.watch import Watch
from web.wire import sse
from web.wire.links import job_links

LONGEST = 300.0  # seconds until a stream ends; the client reconnects
PACE = 0.1  # seconds between two reads: a fast job changes hundreds of times a second
TOKEN_PACE = 0.01  # seconds, while tokens are streamed
# Milliseconds until a browser reconnects. Sent with the first event, because some clients take a
# block without data for an event.
RETRY = b"retry: 1000\n"


def stream_events(
    services: Services, grant: Grant, job_id: str, cursor: StreamCursor, gone: Callable[[], bool]
) -> tuple[Iterator[bytes], Callable[[], None]]:
    """The events after those that the client has, and a function to call when the client reads
    no more. `gone` says whether the client has hung up.

    Raises:
        NotFound: no such job.
        TooMany, Unavailable: too many streams are open.
    """
    services.store.job(job_id, grant.tenant)
    with ExitStack() as stack:
        watch = stack.enter_context(open_stream(services, grant, job_id, gone))
        links = job_links(services, job_id)
        events = _with_retry(_stream(services, watch, job_id, grant.tenant, cursor, links))
        return events, stack.pop_all().close


def _with_retry(events: Iterator[bytes]) -> Iterator[bytes]:
    """Put the reconnection time in front of the first event."""
    for first in events:
        yield RETRY + first
        break
    yield from events


def _stream(
    services: Services,
    watch: Watch,
    job_id: str,
    tenant: str,
    cursor: StreamCursor,
    links: dict[str, str],
) -> Iterator[bytes]:
    end = time.monotonic() + LONGEST
    feed = services.feeds.of(job_id)
    read = partial(job_view, services, job_id, tenant, whole=False)
    shown: JobView | None = None
    looked = -1
    try:
        while time.monotonic() < end and not watch.ended:
            yield from sse.joined(_deltas(cursor, new_entries(services.store, job_id, watch)))
            if watch.version != looked:
                looked = watch.version
                # Read before the items: if the job is over here, no item can follow.
                view = feed.view(looked, read)
                while rows := feed.finished(cursor.finished):
                    for index, row in rows:
                        cursor.end(index)
                        yield sse.event(row, "item.finished", cursor.text)
                if view.status.terminal:
                    yield _job_event("job.finished", view, links)
                    return
                if view != shown:
                    yield _job_event("job", view, links)
                    shown = view
            time.sleep(TOKEN_PACE if cursor.is_streaming else PACE)
            if not watch.wait(min(sse.HEARTBEAT, end - time.monotonic())):
                looked = -1  # some changes, such as of workers, are not published
                yield sse.COMMENT
    except (NotFound, Unavailable, KeyError):
        # The job was deleted, or Redis is unreachable: a client that reconnects gets the error.
        return


def _deltas(cursor: StreamCursor, entries: list[tuple[int, bytes]]) -> Iterator[bytes]:
    for piece in cursor.take(entries):
        yield sse.event(to_json(piece.shown()), "item.delta", cursor.text)


def _job_event(kind: str, view: JobView, links: dict[str, str]) -> bytes:
    """The view is shared by all streams of the job; the links are those of this client's host."""
    return sse.event(view.model_copy(update={"links": links}).model_dump_json().encode(), kind)
