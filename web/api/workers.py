"""The native API's live workers."""

from __future__ import annotations

from flask import Response

from web.api.answers import answer
from web.api.blueprint import api
from web.auth import needs_tenant
from web.jobs.workers import drain_worker, worker_views
from web.schemas.answers import WorkerList, WorkerView
from web.services.services import services
from web.wire.description import described


@api.get("/v1/workers")
@described("Live workers", WorkerList)
@needs_tenant
def workers(_tenant: str) -> Response:
    return answer(WorkerList(data=worker_views(services())))


@api.post("/v1/workers/<worker_id>/drain")
@described("Have a worker take no more items (operators only)", WorkerView)
@needs_tenant
def drain(tenant: str, worker_id: str) -> Response:
    return answer(drain_worker(services(), tenant, worker_id, True))


@api.post("/v1/workers/<worker_id>/resume")
@described("Have a drained worker take items again (operators only)", WorkerView)
@needs_tenant
def undrain(tenant: str, worker_id: str) -> Response:
    return answer(drain_worker(services(), tenant, worker_id, False))
