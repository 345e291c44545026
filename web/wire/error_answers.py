"""Errors as problem+json (RFC 9457) with stable codes, and a request id on every answer.

    {"type", "title", "status", "code", "detail", "errors": [{"code", "message", "field", "line"}],
    "request_id"}

On OpenAI's paths they have OpenAI's shape (`web/openai/errors.py`), the same codes, and 400 for
422.

What is no `PromptmillError` is a crash: logged with its traceback and request id, answered without
either's content.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from http import HTTPStatus

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from common.errors import InvalidRequest, PromptmillError, TooLarge, Unauthorized
from common.store.packing import one_line
from web.api.metrics import count_request
from web.openai import errors as dialect
from web.schemas.answers import Problem
from web.services.services import services
from web.wire import routes

RETRY_AFTER = 2  # seconds until Redis may be back, or some of what waits has run

log = logging.getLogger("web.requests")


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)
    app.register_error_handler(PromptmillError, _answer_error)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_crash)


def problem(
    status: int, code: str, detail: str, errors: list[dict[str, object]] | None = None
) -> Response:
    status, body, kind = error_body(request.path, status, code, detail, g.request_id, errors)
    return Response(body, status, content_type=kind)


def error_body(
    path: str,
    status: int,
    code: str,
    detail: str,
    request_id: str,
    errors: list[dict[str, object]] | None = None,
) -> tuple[int, bytes, str]:
    """An error as requests to this path are told it: status, body and media type."""
    if dialect.speaks(path):
        first = errors[0] if errors else {}
        field = str(first["field"]) if "field" in first else None
        code = str(first["code"]) if "code" in first else code
        status = dialect.status_of(status, code)
        return (
            status,
            json.dumps(dialect.error_body(status, code, detail, field)).encode(),
            "application/json",
        )
    body = Problem.model_validate(
        {
            "type": f"urn:promptmill:{code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
            "errors": errors or [],
            "request_id": request_id,
        }
    )
    return (
        status,
        one_line(body.model_dump_json(exclude_none=True).encode()),
        "application/problem+json",
    )


def _answer_error(error: PromptmillError) -> Response:
    if error.status >= 500 and not error.retry:
        log.error("%s", error, exc_info=error, extra={"request": g.request_id})
    errors = (
        error.errors
        if isinstance(error, InvalidRequest)
        else [error.as_dict()]
        if error.field
        else []
    )
    response = problem(error.status, error.code, error.message, errors)
    if error.retry:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    elif dialect.speaks(request.path):
        # OpenAI's client would, for what is no use to try again.
        response.headers["X-Should-Retry"] = "false"
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _answer_http(error: HTTPException) -> Response:
    if isinstance(error, RequestEntityTooLarge):
        return _answer_error(too_large())
    error = routes.as_unmatched(error)
    status = error.code or 500
    if status == 404:
        detail = routes.not_there()
    elif status == 405:
        detail = routes.not_possible(error)
    else:
        detail = error.description or HTTPStatus(status).phrase
    response = problem(status, HTTPStatus(status).name.lower(), detail)
    for name, value in error.get_headers(request.environ):
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def too_large() -> TooLarge:
    """The request's body is over its limit."""
    limit = request.max_content_length or current_app.config["MAX_CONTENT_LENGTH"]
    return TooLarge(
        f"a request may have {limit / 2**20:,.1f} MiB here; split the job, or upload it as a file"
    )


def _answer_crash(error: Exception) -> Response:
    log.error(
        "%s %s failed",
        request.method,
        request.path,
        exc_info=error,
        extra={"request": g.request_id},
    )
    return problem(
        500, "internal_error", f"something broke here; the server's log has it under {g.request_id}"
    )


def _begin() -> None:
    g.request_id = f"req_{secrets.token_hex(8)}"
    g.began = time.monotonic()


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")  # pages and static files say otherwise
    count_request(services(), response.status_code)
    milliseconds = round((time.monotonic() - g.began) * 1000, 1)
    # Never the query: a login link's token is in it.
    extra = {"request": g.request_id, "status": response.status_code, "ms": milliseconds}
    log.info("%s %s", request.method, request.path, extra=extra)
    return response
