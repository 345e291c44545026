"""A job as a stream of server-sent events.

    event: job             the job, at the start and whenever its state or counts changed
    event: item.finished   a result row; `id` is how many finished items the reader has seen, to go on from
    event: job.finished    the job as it ended; the last event

A stream ends after five minutes even if the job goes on: clients reconnect with `Last-Event-ID` and miss nothing.
Items that were cancelled or expired before they ran have no event of their own; the job's counts tell them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from common.errors import NotFound, Unavailable
from web.schemas import JobView
from web.services import Services
from web.views import job_view

LONGEST = 300.0  # seconds a stream lives
HEARTBEAT = 15.0  # seconds of silence that proxies are sure to bear
PACE = 0.1  # seconds between two looks: a fast job changes hundreds of times a second
BATCH = 64  # finished items told between two looks at the job
GAP = 16  # items between two finished ones that are read along rather than asked for separately
RETRY = b"retry: 1000\n\n"  # ms after which a browser reconnects


def stream_events(services: Services, job_id: str, tenant: str, cursor: int) -> Iterator[bytes]:
    """Events from behind the first `cursor` finished items. `NotFound` is raised here, not in the stream."""
    job = services.store.job(job_id, tenant)
    return _stream(services, job_id, tenant, json.loads(job["spec"]), cursor)


def _stream(services: Services, job_id: str, tenant: str, spec: dict[str, Any], cursor: int) -> Iterator[bytes]:
    end = time.monotonic() + LONGEST
    told: JobView | None = None
    yield RETRY
    try:
        with services.changes.watch(job_id) as watch:
            while time.monotonic() < end and not watch.closing:
                view = job_view(services, job_id, tenant)  # before the items: a job seen as over has none to come
                while finished := services.store.finished_after(job_id, cursor, BATCH):
                    rows = _rows(services, job_id, finished, spec)
                    for index in finished:
                        cursor += 1
                        yield _event("item.finished", json.dumps(rows[index], ensure_ascii=False), cursor)
                if view.status.terminal:
                    yield _event("job.finished", view.model_dump_json())
                    return
                if view != told:
                    yield _event("job", view.model_dump_json())
                    told = view
                time.sleep(PACE)
                if not watch.wait(min(HEARTBEAT, end - time.monotonic())):
                    yield b": still here\n\n"
    except (NotFound, Unavailable, KeyError):  # deleted, or Redis is away: whoever reconnects is told which
        return


def _rows(services: Services, job_id: str, indices: list[int], spec: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Rows by index, read in as few runs as their closeness allows."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index - runs[-1][-1] <= GAP:
            runs[-1].append(index)
        else:
            runs.append([index])
    return {
        row["index"]: row for run in runs for row in services.store.rows(job_id, run[0], run[-1] - run[0] + 1, spec)
    }


def _event(kind: str, data: str, cursor: int | None = None) -> bytes:
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {kind}\ndata: {data}\n\n".encode()
