"""A job as a stream of server-sent events.

    event: job             the job, at the start and whenever its state or counts changed
    event: item.finished   a result row; `id` is how many finished items the reader has seen, to go on from
    event: job.finished    the job as it ended; the last event

A stream ends after five minutes even if the job goes on: clients reconnect with `Last-Event-ID` and miss nothing.
Items that were cancelled or expired before they ran have no event of their own; the job's counts tell them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from common.errors import NotFound, Unavailable
from web.schemas import JobView
from web.services import Services
from web.views import job_links, job_view

LONGEST = 300.0  # seconds a stream lives
HEARTBEAT = 15.0  # seconds of silence that proxies are sure to bear
PACE = 0.1  # seconds between two looks: a fast job changes hundreds of times a second
RETRY = b"retry: 1000\n\n"  # ms after which a browser reconnects


def stream_events(services: Services, job_id: str, tenant: str, cursor: int) -> Iterator[bytes]:
    """Events from behind the first `cursor` finished items. `NotFound` is raised here, not in the stream."""
    services.store.job(job_id, tenant)
    return _stream(services, job_id, tenant, cursor, job_links(services, job_id))


def _stream(services: Services, job_id: str, tenant: str, cursor: int, links: dict[str, str]) -> Iterator[bytes]:
    end = time.monotonic() + LONGEST
    feed = services.feeds.of(job_id)
    read = partial(job_view, services, job_id, tenant)
    told: JobView | None = None
    yield RETRY
    try:
        with services.changes.watch(job_id) as watch:
            while time.monotonic() < end and not watch.closing:
                view = feed.view(watch.version, read)  # before the items: a job seen as over has none to come
                while rows := feed.finished(cursor):
                    for row in rows:
                        cursor += 1
                        yield _event("item.finished", row, cursor)
                if view.status.terminal:
                    yield _job_event("job.finished", view, links)
                    return
                if view != told:
                    yield _job_event("job", view, links)
                    told = view
                time.sleep(PACE)
                if not watch.wait(min(HEARTBEAT, end - time.monotonic())):
                    yield b": still here\n\n"
    except (NotFound, Unavailable, KeyError):  # deleted, or Redis is away: whoever reconnects is told which
        return


def _job_event(kind: str, view: JobView, links: dict[str, str]) -> bytes:
    """The view is shared by all streams; the links are as this one's reader reached us."""
    return _event(kind, view.model_copy(update={"links": links}).model_dump_json())


def _event(kind: str, data: str, cursor: int | None = None) -> bytes:
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {kind}\ndata: {data}\n\n".encode()
