"""Shares what the event streams of one job read: the first that looks asks Redis, the others take
its answer.

A change wakes every stream of a job at the same moment; without this a thousand of them would ask
the same a thousand times.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

from pydantic_core import to_json

from common.store.job_spec import JobSpec
from common.store.jobs import JobStore
from web.schemas.answers import JobView

BATCH = 64  # finished items read at once
MOST_BATCHES = 32  # kept, for streams that are a little behind
# Seconds; some changes are not published, such as a worker that starts and finds nothing to do.
FRESH = 5.0
GAP = 16  # items between two finished ones that are read along rather than asked for separately


class Feed:
    """One job's. Safe for threads; removed with its last stream."""

    def __init__(self, store: JobStore, job_id: str):
        self._store = store
        self._job_id = job_id
        self._spec: JobSpec = {}
        self._lock = threading.Lock()
        self._view: JobView | None = None
        self._version = -1
        self._read_at = 0.0
        self._batches: OrderedDict[int, list[tuple[int, bytes]]] = OrderedDict()

    def view(self, version: int, read: Callable[[], JobView]) -> JobView:
        """The job at `version` or later; `read` asks for it anew."""
        with self._lock:
            if (
                self._view is None
                or self._version < version
                or time.monotonic() - self._read_at > FRESH
            ):
                self._view, self._version, self._read_at = read(), version, time.monotonic()
            return self._view

    def finished(self, cursor: int) -> list[tuple[int, bytes]]:
        """(index, row as JSON), in order of completion, from behind the first `cursor`; empty if
        none is yet."""
        with self._lock:
            batch = self._batches.get(cursor)
            if batch is None:
                batch = self._read(cursor)
            if batch:
                # Results never change, so even a short batch stays right.
                self._batches[cursor] = batch
                while len(self._batches) > MOST_BATCHES:
                    self._batches.popitem(last=False)
            return batch

    def _read(self, cursor: int) -> list[tuple[int, bytes]]:
        indices = self._store.finished_after(self._job_id, cursor, BATCH)
        if indices and not self._spec:
            self._spec = self._store.job(self._job_id).spec
        rows = {
            row["index"]: to_json(row)
            for first, last in _runs(indices)
            for row in self._store.rows(self._job_id, first, last - first + 1, self._spec)
        }
        return [(index, rows[index]) for index in indices]


class Feeds:
    """The feeds of the jobs that have an open stream."""

    def __init__(self, store: JobStore):
        self._store = store
        self._feeds: WeakValueDictionary[str, Feed] = WeakValueDictionary()
        self._lock = threading.Lock()

    def of(self, job_id: str) -> Feed:
        with self._lock:
            feed = self._feeds.get(job_id)
            if feed is None:
                feed = self._feeds[job_id] = Feed(self._store, job_id)
            return feed


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """(first, last) of stretches that hold all the indices and little else."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indices):
        if runs and index - runs[-1][1] <= GAP:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs
