"""Derived jobs before they have items: each waits for the jobs of whose rows it is to be made.

Such a job has its record and its id from the start; `attach` gives it its items, once, whichever
process does it. Knows Redis; nothing of rows or HTTP.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import redis

from common.errors import ErrorDict, NotFound, TooMany
from common.store.admission import Limits, refuse_overfull
from common.store.connection import redis_errors
from common.store.job import InputFrom
from common.store.job_prep import JobPrep, stored_prep
from common.store.scripts import Scripts
from common.store.submitted import NO_KEY, KeyUse

# Jobs of a tenant that may wait for others: each keeps a template, and its sources are not purged.
MOST_WAITING = 100
EndedBy = Literal["source_deleted", "source_empty", "refused"]


@dataclass(frozen=True)
class DerivedClaim:
    """A job that this process makes of its sources' rows; `tries` counts claims, this one included.
    `token` fences what it does."""

    job_id: str
    token: str
    tries: int


class DerivedJobs:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._scripts = Scripts(client)

    def submit(
        self,
        job_id: str,
        tenant: str,
        input_from: InputFrom,
        fields: Mapping[str, Any],
        prep: JobPrep,
        *,
        idempotency: KeyUse = NO_KEY,
        deadline: int = 0,
        limits: Limits,
    ) -> tuple[Literal["new", "same", "conflict"], str]:
        """Keep a job that waits for others. Durable when it returns.

        `fields` are those of the job's hash that `JobStore.attach` takes, of no items. Answers
        whether the idempotency key had made a job before, of the same or of other content, and the
        id of the job.

        Raises:
            NotFound: the tenant has no such job to wait for.
            TooMany: as many of the tenant's jobs wait as may. StorageFull: it keeps as much.
        """
        flat = [part for pair in {**fields, **input_from.field()}.items() for part in pair]
        with redis_errors():
            told, found = self._scripts.submit_derived(
                *flat,
                id=job_id,
                tenant=tenant,
                sources=json.dumps(input_from.jobs),
                **idempotency.of("idem", "fingerprint"),
                deadline=deadline,
                most=MOST_WAITING,
                stored_bytes=limits.stored_bytes,
                prep=json.dumps(stored_prep(prep), ensure_ascii=False),
            )
        outcome, named = told.decode(), found.decode()
        if outcome == "gone":
            raise NotFound(f"no job {named}", field="input_from.jobs")
        if outcome == "too_many":
            message = (
                f"{MOST_WAITING} jobs of yours wait for other jobs, as many as may; try again when "
                "some began"
            )
            raise TooMany(message, code="too_many_waiting_jobs")
        refuse_overfull(outcome, limits)
        return outcome, named

    def claim(self, lease: float) -> DerivedClaim | None:
        """Take a job whose sources are over; no other process gets it for `lease` seconds. Tenants
        have one in hand at a time, in turn."""
        token = secrets.token_hex(8)
        with redis_errors():
            answer = self._scripts.claim_derived(lease=int(lease * 1000), claim=token)
        return DerivedClaim(answer[0].decode(), token, int(answer[1])) if answer else None

    def hold(self, claim: DerivedClaim, lease: float) -> bool:
        """Go on for `lease` seconds more; False when the job is another's by now, or waits no
        more."""
        return self._hold(claim, lease, free=0)

    def postpone(self, claim: DerivedClaim, seconds: float) -> None:
        """Give the job back to be claimed in `seconds`; this try does not count."""
        self._hold(claim, seconds, free=1)

    def _hold(self, claim: DerivedClaim, seconds: float, free: int) -> bool:
        with redis_errors():
            return bool(
                self._scripts.hold_derived(
                    id=claim.job_id, claim=claim.token, ms=int(seconds * 1000), free=free
                )
            )

    def end(self, claim: DerivedClaim, why: EndedBy, error: ErrorDict) -> bool:
        """It cannot be made: it ends as cancelled, without items. Answers if webhooks are due."""
        with redis_errors():
            return bool(
                self._scripts.end_derived(
                    id=claim.job_id, claim=claim.token, why=why, said=json.dumps(error)
                )
            )
