"""Health checks, and metrics for Prometheus."""

from __future__ import annotations

from flask import Response, request

from common.store.connection import redis_errors
from web.api.answers import answer
from web.api.blueprint import api
from web.api.metrics import MEDIA_TYPES, render
from web.auth import needs_tenant
from web.schemas.answers import Health
from web.services.services import services
from web.wire.description import described


@api.get("/healthz")
@described("This process is up", Health, public=True)
def healthz() -> Response:
    return answer(Health())


@api.get("/readyz")
@described("This process can serve: Redis answers", Health, public=True, errors=(503,))
def readyz() -> Response:
    with redis_errors():
        services().redis.ping()
    return answer(Health())


@api.get("/health")
@described("This server can take requests: Redis answers", public=True, errors=(503,))
def health() -> Response:
    """`/readyz` as vLLM's clients call it."""
    with redis_errors():
        services().redis.ping()
    return Response()


@api.get("/metrics")
@described(
    "The queue, the workers and counters, for Prometheus",
    media_types=MEDIA_TYPES,
)
@needs_tenant
def metrics(_tenant: str) -> Response:
    body, content_type = render(services(), request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)
