"""Keeps a sample of each job's results, for its charts: a look at a job of any size reads a bounded
number of results, and the next look only those that came since.

Of a job with more than `MOST` results it has those at every k-th place in the order of completion,
k a power of two, so all processes of the web tier have the same sample. Results never change.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from common.cooperate import Steps
from common.result_row import ItemResult
from common.store.job import Job
from common.store.jobs import JobStore
from common.store.records import Unreadable, reading
from common.store.rows import parse_result

MOST = 4096  # results of a job that are kept
MOST_JOBS = 16  # that are kept: some 20 MB where each has the most
MOST_OUTPUTS = 16  # continuations of an item that are kept
BATCH = 64  # results read at once, fewer where they are large
MOST_READ = 4 * 2**20  # bytes of results read at once, about
BUDGET = 0.5  # seconds of reading a look may take; the next goes on from there


class Sample(NamedTuple):
    """What is kept of a result. Times are seconds after the job was made, None where no worker ran
    the item to its end."""

    ended: float | None
    ran: float  # seconds
    tokens: int  # generated, of all continuations
    failed: bool
    lengths: tuple[int, ...]
    reasons: tuple[str, ...]


class Samples:
    """One job's. Safe for threads."""

    def __init__(self, store: JobStore, job_id: str):
        self._store = store
        self._job_id = job_id
        self._lock = threading.Lock()
        self.every = 1
        self.found: list[Sample] = []

    def look(self, job: Job) -> tuple[list[Sample], int, bool]:
        """The sample in order of completion, its `every`, and whether it is whole: not if reading
        took longer than `BUDGET`."""
        with self._lock:
            finished = self._store.finished(self._job_id)
            if (len(self.found) - 1) * self.every >= finished:
                # The server lost the end of what it had: a failover, or a backup that was restored.
                self.every, self.found = 1, []
            while -(-finished // self.every) > MOST:
                self.every, self.found = self.every * 2, self.found[::2]
            whole = self._read(job, finished)
            return list(self.found), self.every, whole

    def _read(self, job: Job, finished: int) -> bool:
        end, steps = time.monotonic() + BUDGET, Steps()
        batch = max(1, min(BATCH, MOST_READ // max(1, job.item_bytes)))
        while len(self.found) * self.every < finished:
            if time.monotonic() > end:
                return False
            places = range(len(self.found) * self.every, finished, self.every)[:batch]
            indices = self._store.finished_at(self._job_id, places)
            blobs = self._store.result_blobs(self._job_id, indices)
            if None in blobs:  # deleted meanwhile
                return False
            for index, blob in zip(indices, blobs, strict=True):
                self.found.append(_sample(index, blob or b""))
                steps.step()
        return True


class AllSamples:
    """The samples of the jobs that were looked at last."""

    def __init__(self, store: JobStore):
        self._store = store
        self._samples: OrderedDict[str, Samples] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, job_id: str) -> Samples:
        with self._lock:
            found = self._samples.pop(job_id, None) or Samples(self._store, job_id)
            self._samples[job_id] = found
            while len(self._samples) > MOST_JOBS:
                self._samples.popitem(last=False)
            return found


def _sample(index: int, blob: bytes) -> Sample:
    try:
        with reading(f"the result of item {index}"):
            return _of(parse_result(blob))
    except Unreadable:
        return Sample(None, 0.0, 0, True, (), ())


def _of(result: ItemResult) -> Sample:
    outputs = result.get("outputs", [])[:MOST_OUTPUTS]
    queued, ran = result.get("queued_s"), result.get("run_s")
    return Sample(
        None if queued is None or ran is None else queued + ran,
        ran or 0.0,
        int(result["usage"]["completion_tokens"]) if "usage" in result else 0,
        bool(result.get("error")),
        tuple(output["token_count"] for output in outputs),
        tuple(output["finish_reason"] for output in outputs),
    )
