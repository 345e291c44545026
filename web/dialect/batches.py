"""`/v1/batches`: a file of requests becomes one job. All there is to tell of a batch is its job's, or its record's."""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from itertools import dropwhile, islice
from typing import Annotated, Any, get_args

from flask import Blueprint, Response, request
from pydantic import BeforeValidator, Field, StringConstraints

from common.batches import Record, job_of
from common.errors import Conflict, InvalidRequest, NotFound
from common.types import JobState
from web.auth import needs_tenant
from web.bodies import read_json, read_query, refuse_unread
from web.dialect import windows
from web.dialect.outputs import KINDS, counts, file_id
from web.dialect.requests import Endpoint
from web.dialect.shapes import Expiry, answered, listed, seconds_of
from web.openapi import described
from web.schemas import Query, Schema, Target, refuse
from web.services import Services, services
from web.submit import KEY, KeyReused
from web.views import cancel_job

ENDPOINTS = get_args(Endpoint)
ENDS = ("failed", "cancelled", "expired")  # of a batch that came to have no job

batches = Blueprint("openai_batches", __name__)
batches.before_request(refuse_unread)


def _endpoint(value: Any) -> Any:
    if value not in ENDPOINTS:
        raise refuse(f"must be one of {', '.join(ENDPOINTS)}")
    return value


class BatchRequest(Schema):
    """A batch to be made."""

    input_file_id: str = Field(min_length=1, max_length=256)
    endpoint: Annotated[Endpoint, BeforeValidator(_endpoint)]
    completion_window: Annotated[str, BeforeValidator(windows.check)] = Field(
        description="Hours and minutes: 24h, 90m."
    )
    metadata: (
        Annotated[
            dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    output_expires_after: Expiry | None = Field(None, description="Counted from the end of the batch.")
    webhook: Target | None = Field(None, description="Ours: whom to tell (`extra_body`).")


class BatchPage(Query):
    after: str | None = None
    limit: int = Field(20, ge=1, le=100)


@batches.post("/v1/batches")
@described("Make a batch of an uploaded file", body=BatchRequest, headers=("Idempotency-Key",))
@needs_tenant
def create(tenant: str) -> Response:
    try:
        wanted = read_json(BatchRequest)
    except InvalidRequest as error:  # a batch that cannot be is a bad request in the client's words
        error.status = 400 if error.status == 422 else error.status
        raise
    record = create_batch(services(), tenant, wanted, request.headers.get("Idempotency-Key"))
    return answered(batch_view(services(), record))


@batches.get("/v1/batches")
@described("Your batches, newest first", query=BatchPage)
@needs_tenant
def listing(tenant: str) -> Response:
    page = read_query(BatchPage)
    start = int(services().batches.get(page.after, tenant)["created_at"]) if page.after else None
    found = services().batches.walk(tenant, start=start)
    if page.after:
        found = islice(dropwhile(lambda record: record["id"] != page.after, found), 1, None)
    records = list(islice(found, page.limit + 1))
    return listed([batch_view(services(), record) for record in records[: page.limit]], len(records) > page.limit)


@batches.get("/v1/batches/<batch_id>")
@described("A batch")
@needs_tenant
def retrieve(tenant: str, batch_id: str) -> Response:
    return answered(batch_view(services(), services().batches.get(batch_id, tenant)))


@batches.post("/v1/batches/<batch_id>/cancel")
@described("Stop a batch; what is done stays")
@needs_tenant
def cancel(tenant: str, batch_id: str) -> Response:
    status = batch_view(services(), services().batches.get(batch_id, tenant))["status"]
    if status in ("completed", *ENDS):
        raise Conflict(f"batch {batch_id} is {status} and cannot be cancelled", code="batch_over")
    services().batches.cancel(batch_id)
    with suppress(NotFound):  # it is being validated: whoever does finds the wish
        cancel_job(services(), job_of(batch_id), tenant)
    return answered(batch_view(services(), services().batches.get(batch_id, tenant)))


def create_batch(services: Services, tenant: str, wanted: BatchRequest, idempotency_key: str | None) -> Record:
    """Keep the batch for a validator. The same key makes the same batch.

    Raises:
        NotFound: no such file.
        KeyReused: the key made a batch of other content.
    """
    if idempotency_key is not None and not KEY.fullmatch(idempotency_key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 visible ASCII characters", field="Idempotency-Key")
    content = wanted.model_dump_json()
    name = f"{tenant} {idempotency_key}" if idempotency_key else secrets.token_hex()
    batch_id = f"batch_{hashlib.sha256(name.encode()).hexdigest()[:20]}"
    services.files.get(wanted.input_file_id, tenant)
    services.batches.create(batch_id, tenant, _fields(services, tenant, wanted, content))
    record = services.batches.get(batch_id, tenant)
    if record["fingerprint"] != _digest(content):
        raise KeyReused("this Idempotency-Key was used for another batch; take a new key", field="Idempotency-Key")
    return record


def _fields(services: Services, tenant: str, wanted: BatchRequest, content: str) -> dict[str, Any]:
    window = windows.seconds(wanted.completion_window)
    found = {
        "file": wanted.input_file_id,
        "endpoint": wanted.endpoint,
        "window": wanted.completion_window,
        "expires_at": services.store.now() + window * 1000,
        "metadata": json.dumps(wanted.metadata or {}),
        "fingerprint": _digest(content),
    }
    if wanted.webhook:
        found["webhook"] = wanted.webhook.model_dump_json(exclude_none=True)
    elif url := services.accounts.webhook_url(tenant):
        found["webhook"] = json.dumps({"url": url})
    if wanted.output_expires_after:
        found["output_ttl"] = wanted.output_expires_after.seconds * 1000
    return found


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def batch_view(services: Services, record: Record) -> dict[str, Any]:
    """The batch as the client reads it."""
    try:
        job = services.store.job(job_of(record["id"]))
    except NotFound:
        job = None
    status = _status(record, job)
    made, ended = (job or {}).get("created_at"), (job or record).get("finished_at")
    lines = counts(job) if job else {"output": 0, "error": 0}
    times = {
        "in_progress_at": made,
        "expires_at": (job or {}).get("deadline") or record["expires_at"],
        "finalizing_at": ended if status == "completed" else None,
        "completed_at": ended if status == "completed" else None,
        "failed_at": record.get("failed_at"),
        "expired_at": ended or record.get("expired_at") if status == "expired" else None,
        "cancelling_at": record.get("cancelling_at") if "cancel" in status else None,
        "cancelled_at": ended or record.get("cancelled_at") if status == "cancelled" else None,
    }
    files = {f"{kind}_file_id": file_id(record["id"], kind) if lines[kind] else None for kind in KINDS}
    return {
        "id": record["id"],
        "object": "batch",
        "endpoint": record["endpoint"],
        "model": job["model"] if job else None,
        "errors": {"object": "list", "data": json.loads(record["errors"])} if "errors" in record else None,
        "input_file_id": record["file"],
        "completion_window": record["window"],
        "status": status,
        **files,
        "created_at": seconds_of(record["created_at"]),
        **{name: seconds_of(moment) for name, moment in times.items()},
        "request_counts": {
            "total": int(job["total"]) if job else 0,
            "completed": lines["output"],
            "failed": lines["error"],
        },
        "usage": _usage(job) if job else None,
        "metadata": json.loads(record["metadata"]) or None,
    }


def _status(record: Record, job: dict[str, str] | None) -> str:
    if job:
        if JobState(job["status"]).terminal:
            return job["status"]  # completed, cancelled, expired: the same words
        return "cancelling" if job["cancel_requested"] == "1" else "in_progress"
    for end in ENDS:
        if f"{end}_at" in record:
            return end
    return "cancelling" if "cancelling_at" in record else "validating"


def _usage(job: dict[str, str]) -> dict[str, Any]:
    prompt, completion = int(job["prompt_tokens"]), int(job["completion_tokens"])
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }
