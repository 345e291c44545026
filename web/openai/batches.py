"""`/v1/batches`: the requests in a file become the items of one job. The state of a batch is that
of its job, or before there is a job that of the batch's own record."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, cast, get_args

from flask import Blueprint, Response
from pydantic import BeforeValidator, Field

from common.errors import Conflict, InvalidRequest, NotFound
from common.given import refuse
from common.store.batches import Batch, job_of, new_batch_id
from common.store.job import Job
from common.store.records import readable, reading
from common.store.submitted import key_reused
from web.auth import needs_tenant
from web.intake.idempotency import check_key
from web.jobs.actions import cancel_job
from web.openai.answer_options import Endpoint
from web.openai.batch_output import KINDS, counts, file_id
from web.openai.completion_window import PATTERN, check, seconds
from web.openai.errors import OPENAI_SHAPE
from web.openai.schemas import (
    BatchList,
    BatchStatus,
    BatchView,
    Expiry,
    json_answer,
    list_page,
    unix_seconds,
)
from web.schemas.base import Query, Schema
from web.schemas.fields import ShortName, ShortText
from web.schemas.webhooks import Target
from web.services.services import Services, services
from web.wire.bodies import read_json, read_query, refuse_unread
from web.wire.client import idempotency_key
from web.wire.description import described
from web.wire.error_answers import answer_errors

ENDPOINTS = get_args(Endpoint)
# How a batch without a job may end.
ENDS: tuple[BatchStatus, ...] = ("failed", "cancelled", "expired")

batches = Blueprint("openai_batches", __name__)
batches.before_request(refuse_unread)
answer_errors(batches, OPENAI_SHAPE, "/v1/batches")


def _endpoint(value: Any) -> Any:
    if value not in ENDPOINTS:
        raise refuse(f"must be one of {', '.join(ENDPOINTS)}")
    return value


class BatchRequest(Schema):
    """A request to make a batch."""

    input_file_id: str = Field(min_length=1, max_length=256)
    endpoint: Annotated[Endpoint, BeforeValidator(_endpoint)]
    completion_window: Annotated[str, BeforeValidator(check)] = Field(
        description="Hours and minutes: 24h, 90m.", json_schema_extra={"pattern": PATTERN}
    )
    metadata: Annotated[dict[ShortName, ShortText], Field(max_length=16)] | None = None
    output_expires_after: Expiry | None = Field(
        None, description="Counted from the end of the batch."
    )
    webhook: Target | None = Field(
        None, description="An extension: the URL to call when the batch is over (`extra_body`)."
    )


class BatchPage(Query):
    after: str | None = None
    limit: int = Field(20, ge=1, le=100)


@batches.post("/v1/batches")
@described(
    "Make a batch of an uploaded file",
    BatchView,
    body=BatchRequest,
    headers=("Idempotency-Key",),
    errors=(404, 429),
)
@needs_tenant
def create(tenant: str) -> Response:
    batch = create_batch(services(), tenant, read_json(BatchRequest), idempotency_key())
    return json_answer(batch_view(services(), batch))


@batches.get("/v1/batches")
@described("Your batches, newest first", BatchList, query=BatchPage, errors=(404,))
@needs_tenant
def listing(tenant: str) -> Response:
    asked = read_query(BatchPage)
    behind = services().batches.place(asked.after, tenant) if asked.after else None
    found = services().batches.walk(tenant, behind=behind)
    views = readable(found, partial(batch_view, services()), lambda batch: batch.id)
    return json_answer(list_page(BatchList, views, asked.limit))


@batches.get("/v1/batches/<batch_id>")
@described("A batch", BatchView)
@needs_tenant
def retrieve(tenant: str, batch_id: str) -> Response:
    return json_answer(batch_view(services(), services().batches.get(batch_id, tenant)))


@batches.post("/v1/batches/<batch_id>/cancel")
@described("Cancel a batch; finished requests stay", BatchView, errors=(409,))
@needs_tenant
def cancel(tenant: str, batch_id: str) -> Response:
    status = batch_view(services(), services().batches.get(batch_id, tenant)).status
    if status in ("completed", *ENDS):
        raise Conflict(f"batch {batch_id} is {status} and cannot be cancelled", code="batch_over")
    services().batches.cancel(batch_id)
    with suppress(NotFound):  # being validated: the validator finds the request to cancel
        cancel_job(services(), job_of(batch_id), tenant)
    return json_answer(batch_view(services(), services().batches.get(batch_id, tenant)))


def create_batch(
    services: Services, tenant: str, wanted: BatchRequest, idempotency_key: str | None
) -> Batch:
    """Store the batch for validation. The same key makes the same batch.

    Raises:
        NotFound: no such file.
        KeyReused: the key made a batch of other content, which is still there.
        Conflict: the key made this very batch, and it was deleted since.
        TooMany: too many batches of the tenant wait for their validation.
    """
    check_key(idempotency_key)
    fingerprint = hashlib.sha256(wanted.model_dump_json().encode()).hexdigest()
    idempotency = (idempotency_key, fingerprint) if idempotency_key else ("", "")
    file = services.files.get(wanted.input_file_id, tenant)
    if file.purpose != "batch":
        message = f"{file.id} has the purpose {file.purpose}; upload it with the purpose batch"
        raise InvalidRequest(message, code="invalid_value", field="input_file_id")
    fields, most = _fields(services, tenant, wanted), services.settings.max_pending_batches
    outcome, batch_id = services.batches.create(new_batch_id(), tenant, fields, idempotency, most)
    if outcome == "conflict":
        raise key_reused("batch")
    try:
        return services.batches.get(batch_id, tenant)
    except NotFound:
        message = f"this Idempotency-Key made {batch_id}, which was deleted since; take a new key"
        raise Conflict(message, code="batch_deleted", field="Idempotency-Key") from None


def _fields(services: Services, tenant: str, wanted: BatchRequest) -> dict[str, str | int]:
    window = seconds(wanted.completion_window)
    found: dict[str, str | int] = {
        "file": wanted.input_file_id,
        "endpoint": wanted.endpoint,
        "window": wanted.completion_window,
        "expires_at": services.store.now() + window * 1000,
        "metadata": json.dumps(wanted.metadata or {}),
    }
    if wanted.webhook:
        found["webhook"] = wanted.webhook.model_dump_json(exclude_none=True)
    elif url := services.tenants.webhook_url(tenant):
        found["webhook"] = json.dumps({"url": url})
    if wanted.output_expires_after:
        found["output_ttl"] = wanted.output_expires_after.seconds * 1000
    return found


def batch_view(services: Services, batch: Batch) -> BatchView:
    """The batch as the client reads it."""
    with reading(batch.id):
        return _view(services, batch)


def _view(services: Services, batch: Batch) -> BatchView:
    try:
        job = services.store.job(job_of(batch.id))
    except NotFound:
        job = None
    status = _status(batch, job)
    lines = counts(job) if job else {"output": 0, "error": 0}
    files = {f"{kind}_file_id": file_id(batch.id, kind) if lines[kind] else None for kind in KINDS}
    errors = {"data": batch.errors} if batch.errors is not None else None
    return BatchView.model_validate(
        {
            "id": batch.id,
            "endpoint": batch.endpoint,
            "model": job.model if job else None,
            "errors": errors,
            "input_file_id": batch.file,
            "completion_window": batch.window,
            "status": status,
            **files,
            **{name: unix_seconds(moment) for name, moment in _times(status, batch, job).items()},
            "request_counts": {
                "total": job.total if job else 0,
                "completed": lines["output"],
                "failed": lines["error"],
            },
            "usage": _usage(job) if job else None,
            "metadata": batch.metadata or None,
        }
    )


def _times(status: BatchStatus, batch: Batch, job: Job | None) -> dict[str, int | None]:
    """The times of what happened, and the deadline, in ms."""
    ended = job.finished_at if job else None
    return {
        "created_at": batch.created_at,
        "in_progress_at": job.created_at if job else None,
        "expires_at": (job.deadline if job else None) or batch.expires_at,
        "finalizing_at": ended if status == "completed" else None,
        "completed_at": ended if status == "completed" else None,
        "failed_at": batch.failed_at,
        "expired_at": ended or batch.expired_at if status == "expired" else None,
        "cancelling_at": batch.cancelling_at if status in ("cancelling", "cancelled") else None,
        "cancelled_at": ended or batch.cancelled_at if status == "cancelled" else None,
    }


def _status(batch: Batch, job: Job | None) -> BatchStatus:
    if job:
        if job.status.terminal:
            # Both have the same words: completed, cancelled, expired.
            return cast("BatchStatus", job.status.value)
        return "cancelling" if job.cancel_requested else "in_progress"
    for end in ENDS:
        if getattr(batch, f"{end}_at") is not None:
            return end
    return "cancelling" if batch.cancelling_at is not None else "validating"


def _usage(job: Job) -> dict[str, int]:
    return {
        "input_tokens": job.prompt_tokens,
        "output_tokens": job.completion_tokens,
        "total_tokens": job.prompt_tokens + job.completion_tokens,
    }
