"""Lists of a tenant's jobs, read a part at a time. Reads only.

`JobStore` (`common/store/jobs.py`) has all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from common.store import keys
from common.store.connection import redis_errors
from common.store.job import Job, parse_job
from common.store.job_items import JobItems
from common.store.places import pages, place_of
from common.store.records import readable

MOST_READ = 2**20  # bytes of jobs' records that are read at once


class JobLists(JobItems):
    """Reads lists of jobs; safe for threads."""

    def jobs(self, tenant: str, after: str | None, limit: int) -> tuple[list[Job], bool]:
        """A tenant's jobs, newest first, from behind `after`; and whether there are more."""
        found = list(islice(self.walk(tenant, after, limit + 1), limit + 1))
        return found[:limit], len(found) > limit

    def walk(
        self,
        tenant: str,
        after: str | None = None,
        page: int = 100,
        *,
        newest_first: bool = True,
    ) -> Iterator[Job]:
        """The same one by one; read about a `page` at a time, and a MiB at most. A job whose record
        cannot be read is left out, with a line in the log."""
        line = keys.tenant_jobs(tenant)
        behind = place_of(self.client, line, tenant, after) if after is not None else None
        for ids in pages(self.client, line, newest_first=newest_first, behind=behind, page=page):
            for some in self._by_size(ids):
                with redis_errors():
                    pipe = self.client.pipeline(transaction=False)
                    for job_id in some:
                        pipe.hgetall(keys.job(job_id))
                    hashes = pipe.execute(raise_on_error=False)
                found = [pair for pair in zip(some, hashes, strict=True) if pair[1]]
                yield from readable(found, lambda pair: parse_job(*pair), lambda pair: pair[0])

    def _by_size(self, ids: list[str]) -> Iterator[list[str]]:
        """The jobs in groups of `MOST_READ` bytes: those of earlier versions may have megabytes of
        metadata each."""
        with redis_errors():
            pipe = self.client.pipeline(transaction=False)
            for job_id in ids:
                pipe.hstrlen(keys.job(job_id), "spec")
            sizes = pipe.execute(raise_on_error=False) if ids else []
        group: list[str] = []
        total = 0
        for job_id, size in zip(ids, sizes, strict=True):
            size = size if isinstance(size, int) else 0
            if group and total + size > MOST_READ:
                yield group
                group, total = [], 0
            group.append(job_id)
            total += size
        if group:
            yield group
