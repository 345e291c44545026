"""Makes the items of jobs that waited for other jobs, in the background of every web process.

A process claims a job whose sources are over under a lease in Redis. If the process dies, the lease
expires and another process begins anew. The job has its id from the start, and `attach` gives it
its items once, however often that happens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import chain

from common.errors import (
    ErrorDict,
    InvalidRequest,
    NotFound,
    PromptmillError,
    TooLarge,
    TooMany,
    Unavailable,
)
from common.prompting.template import Template
from common.store.derived import DerivedClaim, EndedBy
from common.store.job import InputFrom, Job
from common.store.records import Unreadable
from web.intake.drafts import Draft
from web.intake.enqueue import enqueue_job
from web.intake.origin import Origin
from web.jobs.derived_rows import DerivedRows, Shape
from web.jobs.submitted import options_of
from web.services.claimed_work import ClaimedWork
from web.services.rings import ring_deliveries
from web.services.services import Services

MOST_AT_ONCE = 2  # jobs in a process; they share its processor with requests
LEASE = 5.0  # seconds a claim lasts; renewed a third into it
RETRY = 3.0  # seconds until a job is tried again after Redis was unreachable
RETRY_FULL = 30.0  # seconds if there was no room for its items: its rows are read again
MOST_TRIES = 5  # rows that crash each process that reads them must fail at some time

log = logging.getLogger(__name__)


class _ClaimLost(Exception):
    """The lease of the claim expired, or the job ended; it is not this process's any more."""


class _Gone(Exception):
    """It cannot be made: why, and the error that its tenant reads."""

    def __init__(self, why: EndedBy, error: ErrorDict):
        super().__init__(why)
        self.why: EndedBy = why
        self.error = error


class Deriver:
    """One per process. `start` runs it on threads; `derive_due` makes at most one job."""

    def __init__(self, services: Services):
        self._services = services
        self._derived = services.derived
        self._work = ClaimedWork(
            "derivation of a job",
            claim=lambda: self._derived.claim(LEASE),
            attempt=self._attempt,
            about=lambda claim: {"job": claim.job_id},
            most=MOST_AT_ONCE,
        )

    def start(self) -> None:
        self._work.start()

    def derive_due(self) -> bool:
        """Make one job whose sources are over; False if there is none."""
        return self._work.do_next()

    def _attempt(self, claim: DerivedClaim) -> None:
        try:
            self._derive(claim)
        except _ClaimLost:
            log.info("a job that waited is no longer ours", extra={"job": claim.job_id})
        except _Gone as gone:
            self._end(claim, gone)
        except (Unavailable, TooMany) as error:
            no_room = isinstance(error, TooMany) or error.code in ("queue_full", "server_full")
            log.warning("a job waits for its rows: %s", error, extra={"job": claim.job_id})
            self._derived.postpone(claim, RETRY_FULL if no_room else RETRY)
        except (InvalidRequest, NotFound, Unreadable) as error:
            self._end(claim, _Gone("refused", _as_error(error)))

    def _derive(self, claim: DerivedClaim) -> None:
        job = self._services.store.job(claim.job_id)
        found = job.input_from
        if not job.waiting or found is None:
            raise _ClaimLost
        if claim.tries > MOST_TRIES:
            message = (
                f"making the job of the rows of others failed {MOST_TRIES} times; the server's log "
                "says why"
            )
            raise _Gone("refused", {"code": "derivation_failed", "message": message})
        sources = [self._source(job, source) for source in found.jobs]
        try:
            self._attach(claim, job, found, sources)
        except NotFound:
            for source in found.jobs:
                self._source(job, source)  # one was deleted while its rows were read
            raise

    def _source(self, job: Job, source: str) -> Job:
        try:
            return self._services.store.job(source, job.tenant)
        except NotFound:
            message = f"the job {source} was deleted before this one could be made of its rows"
            raise _Gone("source_deleted", {"code": "source_deleted", "message": message}) from None

    def _attach(self, claim: DerivedClaim, job: Job, found: InputFrom, sources: list[Job]) -> None:
        services, prep = self._services, self._services.store.prep(job.id)
        renewing = _Renewing(self, claim)
        options, template = options_of(job.spec, prep), Template.parse(prep["template"])
        # A, B or tie is no answer to what references answer: only a judge's own metrics read them.
        referred = options.evaluate and (found.judge is None or bool(options.metrics))
        shape = Shape(template, found.judge == "pairs", referred)
        rows = DerivedRows(services, sources, shape, renewing.tick)
        drafts = self._bounded(iter(rows))
        first = next(drafts, None)
        if first is None:
            message = f"no row of {' and '.join(found.jobs)} succeeded" + (
                " in both" if len(sources) > 1 else ""
            )
            raise _Gone("source_empty", {"code": "source_empty", "message": message})
        drafts = renewing.watch(chain([first], drafts))
        enqueue_job(services, job.tenant, options, drafts, Origin.derived(job.id, found))
        log.info("derived", extra={"job": job.id, "tenant": job.tenant})

    def _bounded(self, drafts: Iterator[Draft]) -> Iterator[Draft]:
        """No more than the tenant may ever have waiting: the job would wait for room for ever."""
        most = self._services.settings.max_queued_items
        for count, draft in enumerate(drafts, start=1):
            if most and count > most:
                message = (
                    f"the job would have more than {most:,} items, which is what you may have "
                    "waiting; take jobs with fewer rows"
                )
                raise TooLarge(message, field="input_from")
            yield draft

    def renew(self, claim: DerivedClaim) -> None:
        """
        Raises:
            _ClaimLost: it is another's by now, or the job ended.
        """
        if not self._derived.hold(claim, LEASE):
            raise _ClaimLost

    def _end(self, claim: DerivedClaim, gone: _Gone) -> None:
        if self._derived.end(claim, gone.why, gone.error):
            ring_deliveries(self._services, claim.job_id)
        log.info("a job that waited ended: %s", gone.why, extra={"job": claim.job_id})


class _Renewing:
    """Renews a claim while rows are read, and once more at their end, because what follows takes
    only milliseconds."""

    def __init__(self, deriver: Deriver, claim: DerivedClaim):
        self._deriver = deriver
        self._claim = claim
        self._renewed = time.monotonic()

    def tick(self) -> None:
        if time.monotonic() - self._renewed > LEASE / 3:
            self._deriver.renew(self._claim)
            self._renewed = time.monotonic()

    def watch(self, drafts: Iterator[Draft]) -> Iterator[Draft]:
        for draft in drafts:
            self.tick()
            yield draft
        self._deriver.renew(self._claim)


def _as_error(error: PromptmillError) -> ErrorDict:
    """What is wrong: the first of several errors says it best."""
    if isinstance(error, InvalidRequest) and error.errors:
        return error.errors[0]
    return error.as_dict()
