"""Validates the files of batches and submits their jobs, in the background of every web process.

A process claims a waiting batch under a lease in Redis. If the process dies, the lease expires and
another process begins anew. The id of the job is made of the batch's, so that a batch has one job
however often that happens. A process validates several batches at once, each of another tenant, so
that a large file does not delay other tenants.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import cast

from common.cooperate import give_way
from common.errors import (
    ErrorDict,
    InvalidRequest,
    NotFound,
    PromptmillError,
    TooLarge,
    TooMany,
    Unavailable,
)
from common.store.batches import Batch, Claim, End, job_of
from web.intake.drafts import Draft
from web.intake.enqueue import DAY, Enqueued, enqueue_job
from web.intake.faults import Broken, error_dicts
from web.intake.origin import Accepted, Origin
from web.intake.validation_messages import MOST_FAULTS
from web.openai import validation_cache
from web.openai.answer_options import Endpoint
from web.openai.batch_input import BatchContext, first_model, parse_lines, read_lines
from web.openai.requests import default_max_tokens
from web.schemas.requests import JobOptions
from web.services.claimed_work import ClaimedWork
from web.services.rings import ring_deliveries
from web.services.services import Services

MOST_AT_ONCE = 8  # validations in a process, which share its processor
LEASE = 5.0  # seconds a claim lasts; renewed a third into it
RETRY = 3.0  # seconds until a batch is tried again after Redis was unreachable
RETRY_FULL = 30.0  # seconds if the queue was full; longer, because a large file is read again
# Seconds of work after which a validation lets requests and other validations run.
BREATH = 0.003
MOST_TRIES = 5  # a file that crashes each process that reads it must fail at some time

log = logging.getLogger(__name__)


class _ClaimLost(Exception):
    """The lease of the claim expired; another process has the batch."""


class _KnownErrors(Exception):
    """An earlier validation found these errors in the file (JSON, as a batch's record has them)."""


class _Cancelled(Exception):
    """Somebody asked for the batch to be cancelled."""


class BatchValidator:
    """One per process. `start` runs it on threads; `validate_due` validates at most one batch."""

    def __init__(self, services: Services):
        self._services = services
        self._batches = services.batches
        self._work = ClaimedWork(
            "validation of a batch",
            claim=lambda: self._batches.claim(LEASE),
            attempt=self._attempt,
            about=lambda claim: {"batch": claim.batch_id},
            most=MOST_AT_ONCE,
        )

    def start(self) -> None:
        self._work.start()

    def validate_due(self) -> bool:
        """Validate one waiting batch; False if none waits."""
        return self._work.do_next()

    def _attempt(self, claim: Claim) -> None:
        try:
            self._validate(claim)
        except _ClaimLost:
            log.warning(
                "the claim on a batch expired; another process validates it",
                extra={"batch": claim.batch_id},
            )
        except _Cancelled:
            self._end(claim, "cancelled")

    def _validate(self, claim: Claim) -> None:
        batch = self._batches.get(claim.batch_id)
        try:
            if not self._has_job(claim.batch_id):
                if claim.tries > MOST_TRIES:
                    message = (
                        f"the validation of this file failed {MOST_TRIES} times; the "
                        "server's log says why"
                    )
                    raise InvalidRequest(message, code="validation_failed")
                if self._services.store.now() >= batch.expires_at:
                    self._end(claim, "expired")
                    return
                self._submit(claim, batch)
        except Unavailable as error:
            log.warning(
                "a batch waits for its validation: %s", error, extra={"batch": claim.batch_id}
            )
            self._batches.postpone(
                claim, RETRY_FULL if error.code in ("queue_full", "server_full") else RETRY
            )
        except (InvalidRequest, NotFound, TooMany) as error:
            self._end(claim, "failed", _errors(error))
        except _KnownErrors as known:
            self._end(claim, "failed", str(known))
        else:
            self._hand_over(claim)

    def _submit(self, claim: Claim, batch: Batch) -> None:
        files, endpoint = self._services.files, cast("Endpoint", batch.endpoint)
        try:
            file = files.get(batch.file, batch.tenant)
        except NotFound as gone:
            raise NotFound(gone.message, code="file_not_found", field="input_file_id") from None
        known = validation_cache.find(self._services, file.id, endpoint)
        if known and known.errors:
            raise _KnownErrors(known.errors)
        model = (
            known.model
            if known
            else first_model(self._renewing_claim(claim, parse_lines(files.open(file.id))))
        )
        try:
            made = self._submit_lines(claim, batch, file.id, model, known.again if known else None)
        except InvalidRequest as error:
            if error.field != "deadline":  # the deadline is not in the file
                validation_cache.keep(
                    self._services, file.id, endpoint, model, errors=_errors(error)
                )
            raise
        validation_cache.keep(self._services, file.id, endpoint, model, again=made.accepted)

    def _submit_lines(
        self, claim: Claim, batch: Batch, file_id: str, model: str | None, again: Accepted | None
    ) -> Enqueued:
        files, endpoint = self._services.files, cast("Endpoint", batch.endpoint)
        lenient = self._services.settings.unknown_fields == "ignore"
        shared = BatchContext(endpoint, model, self._services.models.served_name, lenient)
        drafts = read_lines(self._renewing_claim(claim, parse_lines(files.open(file_id))), shared)
        if model is None:
            raise _no_model_error(drafts)
        options = {
            "model": model,
            "deadline": datetime.fromtimestamp(batch.expires_at / 1000, UTC),
            "metadata": batch.metadata,
            "webhook": batch.webhook,
        }
        return enqueue_job(
            self._services,
            batch.tenant,
            JobOptions.model_validate(options),
            drafts,
            Origin.batch(claim.batch_id, default_max_tokens(endpoint), again),
        )

    def _renewing_claim(self, claim: Claim, drafts: Iterable[Draft]) -> Iterator[Draft]:
        """The drafts. Meanwhile the claim is renewed, and once more at their end, because what
        follows takes only milliseconds."""
        renewed = served = time.monotonic()
        for draft in drafts:
            if time.monotonic() - served > BREATH:
                give_way()
                served = time.monotonic()
            if time.monotonic() - renewed > LEASE / 3:
                self._renew(claim)
                renewed = time.monotonic()
            yield draft
        self._renew(claim)

    def _renew(self, claim: Claim) -> None:
        match self._batches.hold(claim, LEASE):
            case "lost":
                raise _ClaimLost
            case "cancel":
                raise _Cancelled

    def _hand_over(self, claim: Claim) -> None:
        """From here on the state of the batch is that of its job. A cancellation that was requested
        before the job existed is passed on to the job."""
        if self._batches.get(claim.batch_id).cancelling_at is not None:
            self._services.store.cancel(job_of(claim.batch_id))
        self._end(claim, "queued")

    def _has_job(self, batch_id: str) -> bool:
        return self._services.store.has_job(job_of(batch_id))

    def _end(self, claim: Claim, outcome: End, errors: str = "") -> None:
        retention = int(self._services.settings.retention_days * DAY)
        if self._batches.end(claim, outcome, errors=errors, retention=retention):
            ring_deliveries(self._services, claim.batch_id)
        log.info("batch %s", outcome, extra={"batch": claim.batch_id})


def _no_model_error(drafts: Iterable[Draft]) -> InvalidRequest:
    """The error for a file in which no line names a model: what is wrong with each line, or that
    there are none."""
    faults = [
        fault
        for draft in islice(drafts, MOST_FAULTS)
        for fault in error_dicts(Broken(draft.code, draft.field, draft.fault or ""), draft)
    ]
    nothing: ErrorDict = {"code": "empty_file", "message": "the file has no lines"}
    return InvalidRequest("no line names a model", errors=faults or [nothing])


def _errors(error: PromptmillError) -> str:
    """The errors of a batch, as its record keeps them (JSON)."""
    found = error.errors if isinstance(error, InvalidRequest) else [error.as_dict()]
    if isinstance(error, TooLarge):
        found = [{**error.as_dict(), "code": "too_many_tasks"}]
    return json.dumps(
        [
            {
                "code": each["code"],
                "line": each.get("line"),
                "message": each["message"],
                "param": each.get("field") or None,
            }
            for each in found
        ]
    )
