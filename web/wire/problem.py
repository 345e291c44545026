"""Errors as problem+json (RFC 9457), the shape of the native API and of programs that ask for
pages:

    {"type", "title", "status", "code", "detail", "errors": [{"code", "message", "field", "line"}],
    "request_id"}
"""

from __future__ import annotations

from http import HTTPStatus

from common.store.packing import one_line
from web.schemas.answers import Problem
from web.wire.error_answers import ErrorShape, Failure


class ProblemShape(ErrorShape):
    media_type = "application/problem+json"
    model = Problem
    invalid = frozenset({422})

    def write(self, failure: Failure) -> tuple[int, bytes]:
        body = Problem.model_validate(
            {
                "type": f"urn:promptmill:{failure.code}",
                "title": HTTPStatus(failure.status).phrase,
                "status": failure.status,
                "code": failure.code,
                "detail": failure.message,
                "errors": failure.errors,
                "request_id": failure.request_id,
            }
        )
        return failure.status, one_line(body.model_dump_json(exclude_none=True).encode())
