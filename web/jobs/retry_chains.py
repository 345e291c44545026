"""Follows the retries of a job, and the retries of those: which row of an item counts.

An item's rows are that of the job and those of its retries. The newest that succeeded counts, else
the newest that is over. Reruns are other jobs, whose rows never stand for this one's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby

from common.cooperate import give_way
from common.errors import NotFound
from common.result_row import Row
from common.store.job import Job
from common.store.jobs import JobStore
from common.types import ENDS, ItemState

PAGE = 256  # items read at once
SUCCEEDED = ItemState.SUCCEEDED.byte.encode()
OVER = frozenset(state.byte.encode() for state in ENDS)
Place = tuple[str, int]  # a job, and the index of an item in it


class RetriedRows:
    """The rows of a job's retries that count in place of its own. Memory grows with the items that
    were retried, not with the job. Retries that were deleted count nothing.
    """

    def __init__(self, store: JobStore, job: Job):
        self._store = store
        self._job = job
        self._jobs: dict[str, Job] = {}
        self._counts = self._find() if job.retries else {}

    def swap(self, rows: Sequence[Row]) -> list[tuple[Row, str | None]]:
        """The row that counts for each of these rows of the job, and the retry that it is of, None
        for the job itself. It has the index of the job's own."""
        found: dict[int, tuple[Row, str | None]] = {row["index"]: (row, None) for row in rows}
        wanted = [(*self._counts[index], index) for index in sorted(found) if index in self._counts]
        for job_id, group in groupby(sorted(wanted), key=lambda place: place[0]):
            places = {index: own for _, index, own in group}
            for row in self._rows(job_id, sorted(places)):
                row["index"] = places[row["index"]]
                found[row["index"]] = (row, job_id)
        return [found[row["index"]] for row in rows]

    def _rows(self, job_id: str, indices: Sequence[int]) -> Iterator[Row]:
        """These rows of a retry; none of it where it was deleted since."""
        spec = self._jobs[job_id].spec
        wanted, at = set(indices), 0
        while at < len(indices):
            first = indices[at]
            found = self._store.rows(job_id, first, PAGE, spec)
            yield from (row for row in found if row["index"] in wanted)
            at = next((i for i in range(at, len(indices)) if indices[i] >= first + PAGE), 1 << 62)

    def _find(self) -> dict[int, Place]:
        """By index in the job, where the row is that counts."""
        found: dict[int, Place] = {}
        succeeded: set[int] = set()
        roots: dict[str, Mapping[int, int]] = {}  # job -> index there -> index in the first job
        for retry in self._oldest_first():
            states = self._store.states(retry.id)
            mine: dict[int, int] = {}
            for index, (source, at), first in self._origins(retry):
                own = at if source == self._job.id else roots.get(source, {}).get(at)
                if own is None and first is not None:
                    own = first[1] if first[0] == self._job.id else self._firsts.get(first)
                state = states[index : index + 1]
                if own is None:
                    continue
                mine[index] = own
                if state in OVER and (state == SUCCEEDED or own not in succeeded):
                    found[own] = (retry.id, index)
                    succeeded |= {own} if state == SUCCEEDED else set()
            roots[retry.id] = mine
        return self._without_those_that_succeeded_before(found, succeeded)

    def _without_those_that_succeeded_before(
        self, found: dict[int, Place], succeeded: set[int]
    ) -> dict[int, Place]:
        """A row of the job itself that succeeded stays, unless a retry of it succeeded, too."""
        states = self._store.states(self._job.id)
        return {
            own: place
            for own, place in found.items()
            if own in succeeded or states[own : own + 1] != SUCCEEDED
        }

    @cached_property
    def _firsts(self) -> dict[Place, int]:
        """The job's items by where they were tried first, where the job is a retry itself: jobs
        between it and its retries may be deleted."""
        origins = self._origins(self._job)
        return {first or origin: index for index, origin, first in origins}

    def _oldest_first(self) -> list[Job]:
        """The job's retries, and the retries of those."""
        waiting = list(self._job.retries)
        while waiting:
            job_id = waiting.pop()
            if job_id in self._jobs:
                continue
            try:
                retry = self._store.job(job_id, self._job.tenant)
            except NotFound:  # deleted; a part of an earlier version leaves it in the list
                continue
            self._jobs[job_id] = retry
            waiting += retry.retries
        return sorted(self._jobs.values(), key=lambda job: (job.created_at, job.id))

    def _origins(self, retry: Job) -> Iterator[tuple[int, Place, Place | None]]:
        """Each item of a job that says where it comes from, and where it was tried first if that is
        another place; those of earlier versions do not say."""
        for first in range(0, retry.total, PAGE):
            for offset, side in enumerate(self._store.side(retry.id, first, PAGE)):
                if "origin" in side:
                    source, index = side["origin"]
                    before = side.get("first_origin")
                    tried_first = (before[0], before[1]) if before else None
                    yield first + offset, (source, index), tried_first
            give_way()
