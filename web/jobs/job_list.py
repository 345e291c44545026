"""The list of a tenant's jobs: all, or those that are searched for.

A search reads the jobs' records one after the other and stops after `BUDGET` seconds: the answer
says how far it looked, and the next goes on. An order other than that of submission is that of the
newest jobs, `MOST_SORTED` at most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from typing import Any

from common.cooperate import Steps
from common.errors import NotFound
from common.spelled import searchable
from common.store.job import Job
from common.store.records import Unreadable, readable
from common.types import JobState
from web.jobs.pace import active_s
from web.jobs.views import Served, page, view_of
from web.schemas.answers import JobList, JobView, SortedJobs
from web.schemas.queries import JobPage
from web.services.services import Services

BUDGET = 1.0  # seconds of one request
READ = 100  # jobs read at once by a search
MOST_SORTED = 1000


def job_list(services: Services, tenant: str, wanted: JobPage) -> JobList:
    """A tenant's jobs that are as wanted, as many as make a `page`. Their webhooks are shown only
    by `job_view`.

    Raises:
        NotFound: there is no job to go on from.
    """
    if wanted.sorts:
        return _sorted_list(services, tenant, wanted)
    served = Served(services)
    looked = _Look(services, tenant, wanted)

    def shown(job: Job) -> tuple[JobView, int]:
        return view_of(services, job, [], served), len(job.spec_json)

    data, more = page(readable(looked.matches(), shown, lambda job: job.id), wanted.limit)
    after = data[-1].id if more else looked.stopped_at
    return JobList(
        data=data,
        has_more=after is not None,
        after=after,
        searched=looked.count if looked.stopped_at and not more else None,
    )


def _sorted_list(services: Services, tenant: str, wanted: JobPage) -> JobList:
    looked = _Look(services, tenant, wanted.model_copy(update={"after": None}))
    now, by = services.store.now(), wanted.order.removeprefix("-")
    found = readable(
        looked.matches(), lambda job: (_sort_key(job, by, now), job.id), lambda job: job.id
    )
    entries = list(islice(found, MOST_SORTED))
    is_all = next(found, None) is None and looked.stopped_at is None
    keyed = [entry for entry in entries if entry[0] is not None]
    # Of equal ones the newest is first, in either direction.
    keyed.sort(key=itemgetter(0), reverse=wanted.order.startswith("-"))
    ids = [job_id for _, job_id in keyed] + [job_id for key, job_id in entries if key is None]
    first = 0
    if wanted.after is not None:
        if wanted.after not in ids:
            raise NotFound(f"job {wanted.after[:64]} is not in this order any more; sort again")
        first = ids.index(wanted.after) + 1
    served = Served(services)
    rows = readable(
        _those_left(services, tenant, ids[first:]),
        lambda job: (view_of(services, job, [], served), len(job.spec_json)),
        lambda job: job.id,
    )
    data, more = page(rows, wanted.limit)
    return JobList(
        data=data,
        has_more=more,
        after=data[-1].id if more else None,
        sorted=SortedJobs(count=len(ids), all=is_all),
    )


def _sort_key(job: Job, by: str, now: int) -> Any:
    """None for what comes last in either direction. `now` is in ms of the server's clock."""
    match by:
        case "name":
            return searchable(str(job.spec.get("metadata", {}).get("name") or "")) or None
        case "status":
            return list(JobState).index(job.status)
        case "duration":
            end = job.finished_at or (job.paused_at if job.paused else None) or now
            return None if job.started_at is None else active_s(job, end)
    return job.total


def _those_left(services: Services, tenant: str, ids: Iterable[str]) -> Iterator[Job]:
    """These jobs, without those that were deleted since they were sorted."""
    for job_id in ids:
        with suppress(NotFound, Unreadable):
            yield services.store.job(job_id, tenant)


class _Look:
    """One request's. `stopped_at` is the last job that it looked at, if it ran out of time."""

    def __init__(self, services: Services, tenant: str, wanted: JobPage):
        self._wanted = wanted
        self._search = searchable(wanted.search or "")
        self._model = services.models.served_name(wanted.model) if wanted.model else None
        self._jobs = services.store.walk(
            tenant,
            wanted.after,
            READ if wanted.searches or wanted.sorts else wanted.limit + 1,
            newest_first=wanted.order != "created",
        )
        self._is_bounded = wanted.searches or wanted.sorts
        self.count = 0
        self.stopped_at: str | None = None

    def matches(self) -> Iterator[Job]:
        end, steps = time.monotonic() + BUDGET, Steps()
        last: str | None = None
        for job in self._jobs:
            if last is not None and self._is_bounded and time.monotonic() > end:
                self.stopped_at = last
                return
            steps.step()
            self.count, last = self.count + 1, job.id
            if self._is_wanted(job):
                yield job

    def _is_wanted(self, job: Job) -> bool:
        if self._model is not None and job.model != self._model:
            return False
        if self._wanted.sweep is not None and job.sweep != self._wanted.sweep:
            return False
        return self._has_status(job) and (not self._search or self._is_found(job))

    def _has_status(self, job: Job) -> bool:
        status = self._wanted.status
        if status == "failed":
            return job.failed > 0
        if status == "paused":
            return job.paused and not job.status.terminal
        return status is None or job.status == status

    def _is_found(self, job: Job) -> bool:
        if self._search in job.id:
            return True
        metadata = job.spec.get("metadata", {})
        return any(
            self._search in searchable(text)
            for value in metadata.values()
            for text in [value if isinstance(value, str) else json.dumps(value)]
        )
