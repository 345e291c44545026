"""The list of a tenant's jobs: all, or those that are searched for.

A search reads the jobs' records one after the other and stops after `BUDGET` seconds: the answer
says how far it looked, and the next goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from common.cooperate import Steps
from common.spelled import searchable
from common.store.job import Job
from common.store.records import readable
from web.jobs.views import Served, page, view_of
from web.schemas.answers import JobList, JobView
from web.schemas.queries import JobPage
from web.services.services import Services

BUDGET = 1.0  # seconds of one request
READ = 100  # jobs read at once by a search


def job_list(services: Services, tenant: str, wanted: JobPage) -> JobList:
    """A tenant's jobs that are as wanted, as many as make a `page`. Their webhooks are shown only
    by `job_view`.

    Raises:
        NotFound: there is no job to go on from.
    """
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


class _Look:
    """One request's. `stopped_at` is the last job that it looked at, if it ran out of time."""

    def __init__(self, services: Services, tenant: str, wanted: JobPage):
        self._wanted = wanted
        self._search = searchable(wanted.search or "")
        self._model = services.models.served_name(wanted.model) if wanted.model else None
        self._jobs = services.store.walk(
            tenant,
            wanted.after,
            READ if wanted.searches else wanted.limit + 1,
            newest_first=wanted.order == "-created",
        )
        self.count = 0
        self.stopped_at: str | None = None

    def matches(self) -> Iterator[Job]:
        end, steps = time.monotonic() + BUDGET, Steps()
        last: str | None = None
        for job in self._jobs:
            if last is not None and self._wanted.searches and time.monotonic() > end:
                self.stopped_at = last
                return
            steps.step()
            self.count, last = self.count + 1, job.id
            if self._is_wanted(job):
                yield job

    def _is_wanted(self, job: Job) -> bool:
        if self._model is not None and job.model != self._model:
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
