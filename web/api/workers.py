"""The native API's live workers."""

from __future__ import annotations

from flask import Response

from web.api.answers import answer
from web.api.blueprint import api
from web.auth import needs_tenant
from web.jobs.views import worker_views
from web.schemas.answers import WorkerList
from web.services.services import services
from web.wire.description import described


@api.get("/v1/workers")
@described("Live workers", WorkerList)
@needs_tenant
def workers(_tenant: str) -> Response:
    return answer(WorkerList(data=worker_views(services())))
