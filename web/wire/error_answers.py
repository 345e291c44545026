"""Answers errors, each in the shape of the blueprint that its path belongs to.

A blueprint names its shape and the paths that it speaks for (`answer_errors`). Where no route
matches, the shape is that of the longest of these paths with which the request's path begins.
Shapes are defined by the dialects; the one of the native API and the pages is in `problem.py`.

An exception that is no `PromptmillError` is a crash: it is logged with its traceback and the
request's id, and the answer holds nothing but that id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, request
from flask.sansio.app import App
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from common.errors import ErrorDict, InvalidRequest, PromptmillError, TooLarge, Unauthorized
from web.wire import routes
from web.wire.description import description_of

EXTENSION = "error_shapes"
RETRY_AFTER = 2  # seconds until Redis may be back, or some of what waits has run

log = logging.getLogger("web.requests")


@dataclass(frozen=True)
class Failure:
    """An error that is to be answered, before it has a shape.

    `errors` lists what was found wrong with the request, if that is known in detail. `retry` says
    whether the same request may succeed later; None where that is not known.
    """

    status: int
    code: str
    message: str
    request_id: str
    errors: list[ErrorDict] = field(default_factory=list)
    retry: bool | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ErrorShape:
    """How a dialect writes errors. `model` describes the body in `/openapi.json`; `invalid` are the
    statuses of requests that are wrong; `in_streams`: an error may be an event of a stream.
    `final_headers` go with errors that trying again cannot help."""

    media_type: str
    model: type  # a pydantic model or a TypedDict
    invalid: frozenset[int]
    in_streams = False
    final_headers: Mapping[str, str] = MappingProxyType({})

    def write(self, failure: Failure) -> tuple[int, bytes]:
        """Status and body. Works without a request: `gate.py` refuses some before the app has
        them."""
        raise NotImplementedError

    def answer(self, failure: Failure) -> Response:
        """The answer to the current request."""
        status, body = self.write(failure)
        headers = self.final_headers if failure.retry is False else None
        return Response(body, status, headers, content_type=self.media_type)


Rewrite = Callable[[Response, Failure], None]


class ErrorShapes:
    """The shapes of an app's blueprints."""

    def __init__(self) -> None:
        self._by_blueprint: dict[str, ErrorShape] = {}
        self._by_path: dict[str, ErrorShape] = {}
        self._rewrites: list[Rewrite] = []

    def add(self, blueprint: str, shape: ErrorShape, paths: tuple[str, ...]) -> None:
        self._by_blueprint[blueprint] = shape
        self._by_path |= dict.fromkeys(paths, shape)

    def models(self) -> list[type]:
        """The bodies of errors, each once."""
        return list(dict.fromkeys(shape.model for shape in self._by_path.values()))

    def add_rewrite(self, rewrite: Rewrite) -> None:
        self._rewrites.append(rewrite)

    def of(self, blueprint: str | None, path: str) -> ErrorShape:
        """That of the blueprint whose view was found, else by the path."""
        return self._by_blueprint.get(blueprint or "") or self.of_path(path)

    def of_path(self, path: str) -> ErrorShape:
        while path not in self._by_path and path:
            path = path.rpartition("/")[0]
        return self._by_path[path or "/"]

    def answer(self, failure: Failure) -> Response:
        """The answer to the current request."""
        response = self.of(request.blueprint, request.path).answer(failure)
        response.headers.update(failure.headers)
        if failure.retry:
            response.headers["Retry-After"] = str(RETRY_AFTER)
        for rewrite in self._rewrites:
            rewrite(response, failure)
        return response


def answer_errors(blueprint: Blueprint, shape: ErrorShape, *paths: str) -> None:
    """Answer the errors of a blueprint's views in this shape, and those of requests without a view
    whose path is one of these or under one of them. Some blueprint has to name `/`."""

    def add(state: Any) -> None:
        shapes_of(state.app).add(blueprint.name, shape, paths)

    blueprint.record_once(add)


def rewrite_errors(blueprint: Blueprint, rewrite: Rewrite) -> None:
    """Hand every error's answer, whatever its path, to this function, which may change it."""
    blueprint.record_once(lambda state: shapes_of(state.app).add_rewrite(rewrite))


def shapes_of(app: App) -> ErrorShapes:
    found: ErrorShapes = app.extensions[EXTENSION]
    return found


def register(app: Flask) -> None:
    """To be called before the blueprints are registered."""
    app.extensions[EXTENSION] = ErrorShapes()
    app.register_error_handler(PromptmillError, _answer_error)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_crash)


def as_failure(error: PromptmillError, request_id: str) -> Failure:
    errors = [error.as_dict()] if error.field else []
    return Failure(
        error.status,
        error.code,
        error.message,
        request_id,
        error.errors if isinstance(error, InvalidRequest) else errors,
        error.retry,
        {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {},
    )


def too_large() -> TooLarge:
    """The request's body is over its limit."""
    limit = request.max_content_length or current_app.config["MAX_CONTENT_LENGTH"]
    return TooLarge(f"a request may have {limit / 2**20:,.1f} MiB here; {_instead()}")


def _instead() -> str:
    """What to do in place of sending so much."""
    description = description_of(current_app, request.endpoint) if request.endpoint else None
    if description is not None and description.part == "evaluation":
        return (
            "send the references as the multipart part `file`, a table with no columns but "
            "custom_id and reference"
        )
    return "split the job, or upload it as a file"


def _answer_error(error: PromptmillError) -> Response:
    if error.status >= 500 and not error.retry:
        log.error("%s", error, exc_info=error, extra={"request": g.request_id})
    return shapes_of(current_app).answer(as_failure(error, g.request_id))


def _answer_http(error: HTTPException) -> Response:
    if isinstance(error, RequestEntityTooLarge):
        return _answer_error(too_large())
    error = routes.of_this_path(error)
    status = error.code or 500
    if status == 404:
        detail = routes.not_there()
    elif status == 405:
        detail = routes.not_possible(error)
    else:
        detail = error.description or HTTPStatus(status).phrase
    headers = {
        name: value
        for name, value in error.get_headers(request.environ)
        if name not in ("Content-Type", "Content-Length")
    }
    code = HTTPStatus(status).name.lower()
    return shapes_of(current_app).answer(
        Failure(status, code, detail, g.request_id, headers=headers)
    )


def _answer_crash(error: Exception) -> Response:
    log.error(
        "%s %s failed",
        request.method,
        request.path,
        exc_info=error,
        extra={"request": g.request_id},
    )
    detail = f"something broke here; the server's log has it under {g.request_id}"
    return shapes_of(current_app).answer(Failure(500, "internal_error", detail, g.request_id))
