"""The native API's evaluations: begun, listed and shown."""

from __future__ import annotations

import time

from flask import Response

from common.errors import Unauthorized
from common.store.evaluations import Evaluation
from web.api.answers import POLL_AGAIN, answer
from web.api.blueprint import api
from web.auth import grant, needs_tenant
from web.jobs.evaluations import evaluation_view, evaluations_of, start
from web.schemas.evaluations import (
    EvaluationList,
    EvaluationOptions,
    EvaluationRequest,
    EvaluationView,
    EvaluationWait,
)
from web.services.caps import open_stream
from web.services.services import services
from web.wire.bodies import read_evaluation, read_query
from web.wire.client import client_gone, idempotency_key
from web.wire.description import described

LOOK = 0.5  # seconds between two looks at an evaluation that is waited for


@api.post("/v1/jobs/<job_id>/evaluations")
@described(
    "Score the outputs of a job that is over",
    EvaluationView,
    status=202,
    body=EvaluationRequest,
    may_be_empty=True,
    upload=EvaluationOptions,
    part="evaluation",
    headers=("Idempotency-Key",),
    errors=(409, 429),
)
@needs_tenant
def evaluate(tenant: str, job_id: str) -> Response:
    options, references = read_evaluation()
    key = idempotency_key()
    made, replayed = start(services(), tenant, job_id, options, references, key)
    response = _shown(made, 202)
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = response.get_json()["links"]["self"]
    return response


@api.get("/v1/jobs/<job_id>/evaluations")
@described("The evaluations of a job, newest first", EvaluationList)
@needs_tenant
def evaluations(tenant: str, job_id: str) -> Response:
    return answer(evaluations_of(services(), job_id, tenant))


@api.get("/v1/evaluations/<evaluation_id>")
@described(
    "An evaluation; with `wait`, when it is over or the time is up",
    EvaluationView,
    query=EvaluationWait,
    errors=(429,),
)
@needs_tenant
def evaluation(tenant: str, evaluation_id: str) -> Response:
    seconds = read_query(EvaluationWait).wait
    found = services().evaluations.get(evaluation_id, tenant)
    if seconds and not _is_over(found):
        found = _wait_for_end(found, seconds)
    return _shown(found)


def _wait_for_end(found: Evaluation, seconds: float) -> Evaluation:
    """The evaluation when it is over, when the time is up, or when the client hung up."""
    end = time.monotonic() + seconds
    with open_stream(services(), grant(), found.job, client_gone()) as watch:
        while not _is_over(found) and (remaining := end - time.monotonic()) > 0:
            if isinstance(watch.ended, Unauthorized):
                raise watch.ended
            if watch.ended:
                break
            watch.wait(min(LOOK, remaining))
            found = services().evaluations.get(found.id, found.tenant)
    return found


def _is_over(found: Evaluation) -> bool:
    return found.status in ("done", "failed")


def _shown(found: Evaluation, status: int = 200) -> Response:
    response = answer(evaluation_view(services(), found), status)
    if not _is_over(found):
        response.headers["Retry-After"] = str(POLL_AGAIN)
    return response
