"""The native API: jobs and workers. A view reads its request, calls one function, and gives
the answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Blueprint, Response, request
from pydantic import BaseModel

from common.errors import Unauthorized
from common.store.connection import redis_errors
from common.store.packing import one_line
from common.types import JobState
from web.api import metrics as counted
from web.api.events import stream_events
from web.auth import grant, needs_tenant
from web.follow.stream_cursor import Told
from web.intake.enqueue import check_job, submit_job
from web.jobs.actions import append_items, edit_job, retry_job, set_paused
from web.jobs.results import MEDIA_TYPES, stream_results
from web.jobs.views import (
    cancel_job,
    item_list,
    job_list,
    job_view,
    worker_views,
)
from web.schemas.answers import (
    AppendView,
    CheckView,
    Health,
    ItemDelta,
    ItemList,
    JobList,
    JobView,
    ResultRow,
    WorkerList,
)
from web.schemas.requests import (
    CheckRequest,
    EventCursor,
    ItemPage,
    JobEdit,
    JobPage,
    JobRequest,
    MoreItems,
    UploadOptions,
    Wait,
)
from web.services.caps import open_stream
from web.services.services import Services, services
from web.wire import sse
from web.wire.bodies import read_items, read_json, read_query, read_submission, refuse_unread
from web.wire.connections import hung_up
from web.wire.description import described
from web.wire.downloads import download
from web.wire.error_answers import answer_errors
from web.wire.problem import ProblemShape

POLL_AGAIN = 2  # seconds, told to clients that poll
PACE = 0.05  # seconds between two looks at a job that is waited for

api = Blueprint("api", __name__)
api.before_request(refuse_unread)
answer_errors(api, ProblemShape(), "/v1/jobs", "/v1/workers", "/metrics", "/healthz", "/readyz")


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
    options, drafts = read_submission()
    key = request.headers.get("Idempotency-Key")
    return _submit_answer(submit_job(services(), tenant, options, drafts, idempotency_key=key))


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
    options, drafts = read_submission()
    return _answer(check_job(services(), options, drafts, tenant=tenant))


@api.get("/v1/jobs")
@described("Your jobs, newest first", JobList, query=JobPage, errors=(404,))
@needs_tenant
def jobs(tenant: str) -> Response:
    page = read_query(JobPage)
    return _answer(job_list(services(), tenant, page.after, page.limit))


@api.get("/v1/jobs/<job_id>")
@described(
    "A job; with `wait`, as soon as it is over or the time is up",
    JobView,
    query=Wait,
    errors=(429,),
)
@needs_tenant
def job(tenant: str, job_id: str) -> Response:
    seconds = read_query(Wait).wait
    if seconds:
        _wait_for_end(services(), job_id, tenant, seconds)
    return _job_answer(job_view(services(), job_id, tenant))


@api.get("/v1/jobs/<job_id>/items")
@described("Items in order, with what was asked and what came of it", ItemList, query=ItemPage)
@needs_tenant
def items(tenant: str, job_id: str) -> Response:
    page = read_query(ItemPage)
    return _answer(item_list(services(), job_id, tenant, page.after, page.limit))


@api.get("/v1/jobs/<job_id>/results.<any(jsonl, csv, parquet):form>")
@described(
    "Finished items as a file, also while the job runs",
    media_types=tuple(MEDIA_TYPES.values()),
    errors=(406,),
)
@needs_tenant
def results(tenant: str, job_id: str, form: str) -> Response:
    response = download(stream_results(services(), job_id, tenant, form), MEDIA_TYPES[form])
    response.headers["Content-Disposition"] = f'attachment; filename="{job_id}.{form}"'
    return response


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
    errors=(429,),  # as many are open as may be
)
@needs_tenant
def events(_tenant: str, job_id: str) -> Response:
    pieces, close = stream_events(services(), grant(), job_id, _told(), _gone())
    return sse.answer(pieces, close)


@api.post("/v1/jobs/<job_id>/cancel")
@described("Stop a job; finished items stay, what runs keeps the text so far", JobView, status=202)
@needs_tenant
def cancel(tenant: str, job_id: str) -> Response:
    return _job_answer(cancel_job(services(), job_id, tenant), 202)


@api.post("/v1/jobs/<job_id>/pause")
@described(
    "Start nothing more of a job until it is resumed; what runs is handed back as far as it got",
    JobView,
    errors=(409,),
)
@needs_tenant
def pause(tenant: str, job_id: str) -> Response:
    return _job_answer(set_paused(services(), job_id, tenant, True))


@api.post("/v1/jobs/<job_id>/resume")
@described("Go on with a paused job", JobView, errors=(409,))
@needs_tenant
def resume(tenant: str, job_id: str) -> Response:
    return _job_answer(set_paused(services(), job_id, tenant, False))


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
    return _submit_answer(
        retry_job(services(), job_id, tenant, request.headers.get("Idempotency-Key"))
    )


@api.patch("/v1/jobs/<job_id>")
@described("Change a live job's priority, deadline or limits", JobView, body=JobEdit, errors=(409,))
@needs_tenant
def edit(tenant: str, job_id: str) -> Response:
    return _job_answer(edit_job(services(), job_id, tenant, read_json(JobEdit)))


@api.post("/v1/jobs/<job_id>/items")
@described(
    "Add items to a live job",
    AppendView,
    status=202,
    body=MoreItems,
    headers=("Idempotency-Key",),
    errors=(429,),
)
@needs_tenant
def append(tenant: str, job_id: str) -> Response:
    key = request.headers.get("Idempotency-Key")
    return _submit_answer(append_items(services(), job_id, tenant, read_items(), key))


@api.delete("/v1/jobs/<job_id>")
@described("Remove a job and its results, now", status=204)
@needs_tenant
def delete(tenant: str, job_id: str) -> Response:
    services().store.check_owner(job_id, tenant)
    services().store.delete(job_id)
    return Response(status=204)


@api.get("/v1/workers")
@described("Live workers", WorkerList)
@needs_tenant
def workers(_tenant: str) -> Response:
    return _answer(WorkerList(data=worker_views(services())))


@api.get("/metrics")
@described(
    "What waits, who works and what was done, for Prometheus", media_types=counted.MEDIA_TYPES
)
@needs_tenant
def metrics(_tenant: str) -> Response:
    body, content_type = counted.render(services(), request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)


@api.get("/healthz")
@described("This process is up", Health, public=True)
def healthz() -> Response:
    return _answer(Health())


@api.get("/readyz")
@described("This process can serve: Redis answers", Health, public=True, errors=(503,))
def readyz() -> Response:
    with redis_errors():
        services().redis.ping()
    return _answer(Health())


def _wait_for_end(services: Services, job_id: str, tenant: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    services.store.job(job_id, tenant)
    with open_stream(services, grant(), job_id, _gone()) as watch:
        while not JobState(services.store.job(job_id, tenant)["status"]).terminal:
            remaining = end - time.monotonic()
            if isinstance(watch.ended, Unauthorized):
                raise watch.ended
            if remaining <= 0 or watch.ended:
                return
            watch.wait(remaining)
            time.sleep(PACE)


def _gone() -> Callable[[], bool]:
    """Asks whether this request's client has hung up."""
    return hung_up(request.environ.get("gunicorn.socket"))


def _told() -> Told:
    after = read_query(EventCursor).after
    return Told(request.headers.get("Last-Event-ID") or str(after))


def _answer(body: BaseModel, status: int = 200) -> Response:
    return Response(
        one_line(body.model_dump_json().encode()), status, content_type="application/json"
    )


def _submit_answer(view: JobView) -> Response:
    """Of a job that was made or got items, now or when the idempotency key was first used."""
    response = _job_answer(view, 202)
    response.headers["Location"] = view.links["self"]
    if view.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _job_answer(view: JobView, status: int = 200) -> Response:
    response = _answer(view, status)
    if not view.status.terminal:
        response.headers["Retry-After"] = str(POLL_AGAIN)
    return response
