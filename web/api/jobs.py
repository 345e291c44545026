"""The native API's jobs. A view reads its request, calls one function, and gives the answer."""

from __future__ import annotations

from flask import Response, request

from web.api.answers import answer, job_answer, submit_answer
from web.api.blueprint import api
from web.api.events import stream_events
from web.api.long_poll import wait_for_end
from web.auth import grant, needs_tenant
from web.follow.stream_cursor import StreamCursor
from web.intake.estimate import check_job
from web.intake.origin import Origin
from web.intake.preview import preview_job
from web.jobs.actions import cancel_job, delete_job, set_paused, submit_job
from web.jobs.again import rerun_job, retry_job
from web.jobs.changes import edit_job
from web.jobs.derived import submit_derived
from web.jobs.job_list import job_list
from web.jobs.views import job_view
from web.schemas.answers import CheckView, JobList, JobView
from web.schemas.derived import DerivedOptions, JobRequest
from web.schemas.items import ItemDelta, ResultRow
from web.schemas.preview import PreviewView
from web.schemas.queries import EventCursor, JobPage, PreviewRows, Wait
from web.schemas.requests import (
    CheckRequest,
    JobEdit,
    UploadOptions,
)
from web.schemas.rerun import RerunRequest
from web.services.services import services
from web.wire import sse
from web.wire.bodies import NEW_JOB, read_json, read_query, read_submission
from web.wire.client import client_gone, idempotency_key
from web.wire.description import described


@api.post("/v1/jobs")
@described(
    "Submit a job",
    JobView,
    status=202,
    body=JobRequest,
    upload=UploadOptions,
    headers=("Idempotency-Key",),
    errors=(404, 429),
)
@needs_tenant
def create_job(tenant: str) -> Response:
    options, drafts = read_submission(tenant, NEW_JOB)
    if isinstance(options, DerivedOptions):
        return submit_answer(submit_derived(services(), tenant, options, idempotency_key()))
    origin = Origin.native(idempotency_key())
    return submit_answer(submit_job(services(), tenant, options, drafts, origin))


@api.post("/v1/jobs/check")
@described(
    "Validate and count without submitting",
    CheckView,
    body=CheckRequest,
    upload=UploadOptions,
    errors=(404,),
)
@needs_tenant
def check(tenant: str) -> Response:
    options, drafts = read_submission(tenant)
    return answer(check_job(services(), options, drafts, tenant=tenant))


@api.post("/v1/jobs/preview")
@described(
    "The first rows as the model would read them, each with its errors",
    PreviewView,
    body=CheckRequest,
    upload=UploadOptions,
    query=PreviewRows,
    errors=(404,),
)
@needs_tenant
def preview(tenant: str) -> Response:
    rows = read_query(PreviewRows).rows
    options, drafts = read_submission(tenant)
    return answer(preview_job(services(), tenant, options, drafts, rows))


@api.get("/v1/jobs")
@described("Your jobs: all, or those that are searched for", JobList, query=JobPage, errors=(404,))
@needs_tenant
def jobs(tenant: str) -> Response:
    return answer(job_list(services(), tenant, read_query(JobPage)))


@api.get("/v1/jobs/<job_id>")
@described(
    "A job; with `wait`, when it is over or the time is up",
    JobView,
    query=Wait,
    errors=(429,),
)
@needs_tenant
def job(tenant: str, job_id: str) -> Response:
    seconds = read_query(Wait).wait
    if seconds:
        wait_for_end(services(), grant(), job_id, seconds, client_gone())
    return job_answer(job_view(services(), job_id, tenant))


@api.get("/v1/jobs/<job_id>/events")
@described(
    "A job as server-sent events: `job`, `item.delta`, `item.finished`, `job.finished`",
    events={
        "job": JobView,
        "item.delta": ItemDelta,
        "item.finished": ResultRow,
        "job.finished": JobView,
    },
    query=EventCursor,
    headers=("Last-Event-ID",),
    errors=(429,),  # too many streams are open
)
@needs_tenant
def events(_tenant: str, job_id: str) -> Response:
    pieces, close = stream_events(services(), grant(), job_id, _cursor(), client_gone())
    return sse.answer(pieces, close)


@api.post("/v1/jobs/<job_id>/cancel")
@described(
    "Cancel a job; finished items stay, running ones keep the text so far",
    JobView,
    status=202,
)
@needs_tenant
def cancel(tenant: str, job_id: str) -> Response:
    return job_answer(cancel_job(services(), job_id, tenant), 202)


@api.post("/v1/jobs/<job_id>/pause")
@described(
    "Pause a job: running items go back to the queue with the tokens they have",
    JobView,
    errors=(409,),
)
@needs_tenant
def pause(tenant: str, job_id: str) -> Response:
    return job_answer(set_paused(services(), job_id, tenant, True))


@api.post("/v1/jobs/<job_id>/resume")
@described("Resume a paused job", JobView, errors=(409,))
@needs_tenant
def resume(tenant: str, job_id: str) -> Response:
    return job_answer(set_paused(services(), job_id, tenant, False))


@api.post("/v1/jobs/<job_id>/retry")
@described(
    "A new job of the items that failed",
    JobView,
    status=202,
    headers=("Idempotency-Key",),
    errors=(429,),
)
@needs_tenant
def retry(tenant: str, job_id: str) -> Response:
    return submit_answer(retry_job(services(), job_id, tenant, idempotency_key()))


@api.post("/v1/jobs/<job_id>/rerun")
@described(
    "A new job of items of this one, with changes",
    JobView,
    status=202,
    body=RerunRequest,
    may_be_empty=True,
    headers=("Idempotency-Key",),
    errors=(429,),
)
@needs_tenant
def rerun(tenant: str, job_id: str) -> Response:
    wanted = read_json(RerunRequest)
    return submit_answer(rerun_job(services(), job_id, tenant, wanted, idempotency_key()))


@api.patch("/v1/jobs/<job_id>")
@described(
    "Change a job's metadata, and a live job's priority, deadline or limits",
    JobView,
    body=JobEdit,
    errors=(409,),
)
@needs_tenant
def edit(tenant: str, job_id: str) -> Response:
    return job_answer(edit_job(services(), job_id, tenant, read_json(JobEdit)))


@api.delete("/v1/jobs/<job_id>")
@described("Delete a job and its results at once", status=204)
@needs_tenant
def delete(tenant: str, job_id: str) -> Response:
    delete_job(services(), job_id, tenant)
    return Response(status=204)


def _cursor() -> StreamCursor:
    after = read_query(EventCursor).after
    return StreamCursor(request.headers.get("Last-Event-ID") or str(after))
