"""Keeps each job's failures grouped by code and message, so that a look at a job of any size reads
only what failed since the last look.

Numbers in messages are written as `N`, so that messages which differ only in them are one group.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from common.cooperate import Steps
from common.result_row import RowError
from common.store.job import Job
from common.store.jobs import JobStore
from common.store.records import Unreadable, reading
from common.store.rows import parse_result
from common.types import ItemState

FAILED = ItemState.FAILED.byte.encode()
MOST_JOBS = 64  # that are kept
MOST_GROUPS = 100  # of a job; what else failed is counted by code only
MOST_FIRST = 10  # indices that a group has
LONGEST = 500  # characters of a message that are compared and shown
SLICE = 2**14  # places in the order of completion that are read at once
BATCH = 256  # results read at once, fewer where they are large
FEWEST = 16
MOST_READ = 4 * 2**20  # bytes of results read at once, about
BUDGET = 1.0  # seconds of reading a look may take; the next goes on from there
# Of a number as messages have it: digits, also grouped, with a fraction; and hexadecimal.
NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:[.,]\d+)*")
Key = tuple[str, str]  # code, message


@dataclass(slots=True)
class Group:
    """Failures of the same code, with messages that differ in numbers only; `example` is one."""

    code: str
    message: str
    example: str
    count: int = 0
    _first: list[int] = field(default_factory=list)  # a heap of negative indices

    def add(self, index: int) -> None:
        self.count += 1
        if len(self._first) < MOST_FIRST:
            heappush(self._first, -index)
        else:
            heappushpop(self._first, -index)

    @property
    def first(self) -> list[int]:
        """The lowest indices, in ascending order."""
        return sorted(-each for each in self._first)


class Failures:
    """One job's. Safe for threads."""

    def __init__(self, store: JobStore, job_id: str):
        self._store = store
        self._job_id = job_id
        self._lock = threading.Lock()
        self._seen = 0  # places in the order of completion that were looked at
        self._groups: dict[Key, Group] = {}

    def look(self, job: Job) -> tuple[list[Group], bool]:
        """The groups, the largest first, and whether all failures are in them: not if reading took
        longer than `BUDGET`."""
        with self._lock:
            if self._seen > self._store.finished(self._job_id):
                # The server lost the end of what it had: a failover, or a backup that was restored.
                self._seen, self._groups = 0, {}
            whole = self._read(job)
            groups = sorted(self._groups.values(), key=lambda group: (-group.count, group.first))
            return groups, whole

    def _read(self, job: Job) -> bool:
        if not job.failed:
            return True
        end, steps = time.monotonic() + BUDGET, Steps()
        size = max(FEWEST, min(BATCH, MOST_READ // max(1, job.item_bytes)))
        while indices := self._store.finished_after(self._job_id, self._seen, SLICE):
            after = self._seen + len(indices)
            states = self._store.states(self._job_id)
            places = enumerate(indices, self._seen)
            failed = [pair for pair in places if states[pair[1] : pair[1] + 1] == FAILED]
            for at in range(0, len(failed), size):
                some = failed[at : at + size]
                blobs = self._store.result_blobs(self._job_id, [index for _, index in some])
                for (place, index), blob in zip(some, blobs, strict=True):
                    self._add(index, blob or b"")
                    self._seen = place + 1
                    steps.step()
                if time.monotonic() > end and at + size < len(failed):
                    return False
            self._seen = after
        return True

    def _add(self, index: int, blob: bytes) -> None:
        error = _error(index, blob)
        example = error["message"][:LONGEST]
        key = error["code"], NUMBER.sub("N", example)
        if key not in self._groups and len(self._groups) >= MOST_GROUPS:
            key = error["code"], ""
            example = ""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(*key, example)
        group.add(index)


class AllFailures:
    """Those of the jobs that were looked at last."""

    def __init__(self, store: JobStore):
        self._store = store
        self._failures: OrderedDict[str, Failures] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, job_id: str) -> Failures:
        with self._lock:
            found = self._failures.pop(job_id, None) or Failures(self._store, job_id)
            self._failures[job_id] = found
            while len(self._failures) > MOST_JOBS:
                self._failures.popitem(last=False)
            return found


def _error(index: int, blob: bytes) -> RowError:
    try:
        with reading(f"the result of item {index}"):
            error = parse_result(blob).get("error") or {"code": "unknown", "message": ""}
            return {"code": str(error["code"]), "message": str(error["message"])}
    except Unreadable as error:
        return {"code": error.code, "message": error.message}
