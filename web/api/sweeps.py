"""The native API's sweeps."""

from __future__ import annotations

from flask import Response

from web.api.answers import answer
from web.api.blueprint import api
from web.auth import needs_tenant
from web.jobs.sweeps import cancel_sweep, delete_sweep, submit_sweep, sweep_list, sweep_view
from web.schemas.queries import SweepPage
from web.schemas.sweeps import SweepList, SweepOptions, SweepRequest, SweepUpload, SweepView
from web.services.services import services
from web.wire.bodies import SWEEP, read_query, read_submission
from web.wire.client import idempotency_key
from web.wire.description import described


@api.post("/v1/sweeps")
@described(
    "Submit a sweep: a job for each combination of decoding parameters, all or none",
    SweepView,
    status=202,
    body=SweepRequest,
    upload=SweepUpload,
    headers=("Idempotency-Key",),
    errors=(404, 409, 429),
)
@needs_tenant
def create_sweep(tenant: str) -> Response:
    options, drafts = read_submission(tenant, SWEEP)
    assert isinstance(options, SweepOptions | SweepUpload)
    view, replayed = submit_sweep(services(), tenant, options, drafts, idempotency_key())
    response = answer(view, 202)
    response.headers["Location"] = view.links["self"]
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@api.get("/v1/sweeps")
@described("Your sweeps, newest first", SweepList, query=SweepPage, errors=(404,))
@needs_tenant
def sweeps(tenant: str) -> Response:
    page = read_query(SweepPage)
    return answer(sweep_list(services(), tenant, page.after, page.limit))


@api.get("/v1/sweeps/<sweep_id>")
@described("A sweep, with its jobs", SweepView)
@needs_tenant
def sweep(tenant: str, sweep_id: str) -> Response:
    return answer(sweep_view(services(), sweep_id, tenant))


@api.post("/v1/sweeps/<sweep_id>/cancel")
@described("Cancel every job of a sweep that is not over", SweepView, status=202)
@needs_tenant
def stop_sweep(tenant: str, sweep_id: str) -> Response:
    return answer(cancel_sweep(services(), sweep_id, tenant), 202)


@api.delete("/v1/sweeps/<sweep_id>")
@described("Delete a sweep with its jobs and their results, at once", status=204)
@needs_tenant
def remove_sweep(tenant: str, sweep_id: str) -> Response:
    delete_sweep(services(), sweep_id, tenant)
    return Response(status=204)
