"""Makes jobs of batches, in the background of every web process.

A batch that waits is claimed under a lease in Redis: one process has it, and if that dies another
goes on from the beginning. The job's id follows from the batch's, so however often that happens
there is one job. A process validates several batches at once, each of another tenant, so that
nobody waits for a stranger's large file.
"""

from __future__ import annotations

import json
import logging
import threading
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
from web.openai import verdicts
from web.openai.batch_input import Shared, model_of, read_lines, split
from web.openai.requests import Endpoint, default_max_tokens
from web.schemas.requests import JobOptions
from web.services.rings import ring_deliveries
from web.services.services import Services

PAUSE = 0.5  # seconds between two looks for batches
MOST_AT_ONCE = 8  # validations of a process, which share its processor
LEASE = 5.0  # seconds a claim lasts; renewed a third into it
RETRY = 3.0  # seconds until a batch is looked at again, after Redis was away
RETRY_FULL = 30.0  # seconds where as much waits as may: reading a large file again costs some
# Seconds of work after which others are served: each validation of the process works as long.
BREATH = 0.003
MOST_TRIES = 5  # a batch that ends every process that reads it must not do so for ever

log = logging.getLogger(__name__)


class _Lost(Exception):
    """The claim ran out; the batch is another's."""


class _Refused(Exception):
    """The file was found to be wrong before; says how, as a batch's record keeps it."""


class _Cancelled(Exception):
    """The batch is to be cancelled."""


class Validator:
    """One per process. `start` runs it on threads; `validate_due` is one look."""

    def __init__(self, services: Services):
        self._services = services
        self._batches = services.batches
        self._places = threading.Semaphore(MOST_AT_ONCE)

    def start(self) -> None:
        threading.Thread(target=self._run, name="validator", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._places.acquire()
            claim = self._look()
            if claim is None:
                self._places.release()
                time.sleep(PAUSE)
            else:
                threading.Thread(
                    target=self._validate_in_place, args=(claim,), name="validation", daemon=True
                ).start()

    def _look(self) -> Claim | None:
        try:
            return self._batches.claim(LEASE)
        except Unavailable as error:
            log.warning("batches wait for their validation: %s", error)
        except Exception:  # without this thread no batch begins; one bad look must not end them all
            log.exception("no batch could be claimed; trying on")
        return None

    def _validate_in_place(self, claim: Claim) -> None:
        try:
            self._attempt(claim)
        except Unavailable as error:
            log.warning(
                "a batch waits for its validation: %s", error, extra={"batch": claim.batch_id}
            )
        except Exception:
            log.exception("a batch's validation failed; its claim runs out and it is tried again")
        finally:
            self._places.release()

    def validate_due(self) -> bool:
        """Validate one batch, if one waits."""
        claim = self._batches.claim(LEASE)
        if claim is not None:
            self._attempt(claim)
        return claim is not None

    def _attempt(self, claim: Claim) -> None:
        try:
            self._validate(claim)
        except _Lost:
            log.warning(
                "the claim on a batch ran out; it goes on elsewhere",
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
                        f"the validation of this file broke off {MOST_TRIES} times; the "
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
        except _Refused as known:
            self._end(claim, "failed", str(known))
        else:
            self._hand_over(claim)

    def _submit(self, claim: Claim, batch: Batch) -> None:
        files, endpoint = self._services.files, cast("Endpoint", batch.endpoint)
        try:
            file = files.get(batch.file, batch.tenant)
        except NotFound as gone:
            raise NotFound(gone.message, code="file_not_found", field="input_file_id") from None
        known = verdicts.find(self._services, file.id, endpoint)
        if known and known.errors:
            raise _Refused(known.errors)
        model = known.model if known else model_of(self._held(claim, split(files.open(file.id))))
        try:
            made = self._submit_lines(claim, batch, file.id, model, known.again if known else None)
        except InvalidRequest as error:
            if error.field != "deadline":  # which is the batch's own
                verdicts.keep(self._services, file.id, endpoint, model, errors=_errors(error))
            raise
        verdicts.keep(self._services, file.id, endpoint, model, again=made.accepted)

    def _submit_lines(
        self, claim: Claim, batch: Batch, file_id: str, model: str | None, again: Accepted | None
    ) -> Enqueued:
        files, endpoint = self._services.files, cast("Endpoint", batch.endpoint)
        lenient = self._services.settings.unknown_fields == "ignore"
        shared = Shared(endpoint, model, self._services.models.served_name, lenient)
        drafts = read_lines(self._held(claim, split(files.open(file_id))), shared)
        if model is None:
            raise _nameless(drafts)
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

    def _held(self, claim: Claim, drafts: Iterable[Draft]) -> Iterator[Draft]:
        """The drafts, while the claim is renewed, and once more at their end: what follows takes
        milliseconds."""
        renewed = served = time.monotonic()
        for draft in drafts:
            if time.monotonic() - served > BREATH:
                give_way()
                served = time.monotonic()
            if time.monotonic() - renewed > LEASE / 3:
                self._hold(claim)
                renewed = time.monotonic()
            yield draft
        self._hold(claim)

    def _hold(self, claim: Claim) -> None:
        match self._batches.hold(claim, LEASE):
            case "lost":
                raise _Lost
            case "cancel":
                raise _Cancelled

    def _hand_over(self, claim: Claim) -> None:
        """The job tells all from here on. A wish to cancel that came before there was a job is the
        job's now."""
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


def _nameless(drafts: Iterable[Draft]) -> InvalidRequest:
    """What is wrong with a file in which no line names a model: all of them, or there is none."""
    faults = [
        fault
        for draft in islice(drafts, MOST_FAULTS)
        for fault in error_dicts(Broken(draft.code, draft.field, draft.fault or ""), draft)
    ]
    nothing: ErrorDict = {"code": "empty_file", "message": "the file has no lines"}
    return InvalidRequest("no line names a model", errors=faults or [nothing])


def _errors(error: PromptmillError) -> str:
    """What is wrong with a batch, as its record keeps it."""
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
