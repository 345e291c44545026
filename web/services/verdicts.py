"""Keeps what judges answered, so that a look at a judge of any size reads only what was answered
since the last look.

An answer is one of the labels of the job's format. Results never change.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from common.cooperate import Steps
from common.errors import NotFound
from common.store.job import Job
from common.store.jobs import JobStore
from common.store.records import Unreadable, reading
from common.store.rows import parse_result
from common.types import ItemState

MOST_JOBS = 32  # that are kept: two bytes an item
BATCH = 256  # results read at once
OPEN, NONE = 0, 1  # the item is not over; it ended without one of the labels
SUCCEEDED = ord(ItemState.SUCCEEDED.byte)


class Answers:
    """One job's. Safe for threads."""

    def __init__(self, store: JobStore, job: Job):
        self._store = store
        self._job_id = job.id
        output = job.spec["params"].get("output") or {}
        self.labels: list[str] = output.get("choice") or []
        self._places = {label: place for place, label in enumerate(self.labels, start=NONE + 1)}
        self._codes = array("H", bytes(2 * job.total))
        self._read = 0  # results, in the order of completion
        self._lock = threading.Lock()

    def look(self) -> Sequence[str | None]:
        """The label of each item; None for one that has none, or not yet.

        Raises:
            NotFound: the job was deleted.
        """
        with self._lock:
            states, steps = self._store.states(self._job_id), Steps()
            if len(states) < len(self._codes):
                raise NotFound(f"no job {self._job_id}")
            while ended := self._store.finished_after(self._job_id, self._read, BATCH):
                blobs = self._store.result_blobs(self._job_id, ended)
                for index, blob in zip(ended, blobs, strict=True):
                    good = index < len(self._codes) and states[index] == SUCCEEDED and blob
                    self._codes[index] = self._code(blob) if good and blob else NONE
                    steps.step()
                self._read += len(ended)
            names = [None, None, *self.labels]
            return [names[code] for code in self._codes]

    def _code(self, blob: bytes) -> int:
        try:
            with reading(f"an answer of {self._job_id}"):
                outputs = parse_result(blob).get("outputs")
                return self._places.get(outputs[0]["text"], NONE) if outputs else NONE
        except Unreadable:
            return NONE


class AllAnswers:
    """The answers of the judges that were looked at last."""

    def __init__(self, store: JobStore):
        self._store = store
        self._answers: OrderedDict[str, Answers] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, job: Job) -> Answers:
        """Of a judge that has its items."""
        with self._lock:
            found = self._answers.pop(job.id, None) or Answers(self._store, job)
            self._answers[job.id] = found
            while len(self._answers) > MOST_JOBS:
                self._answers.popitem(last=False)
            return found
