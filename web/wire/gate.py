"""Waits for the beginning of a request's body before the app handles the request.

A request that waits here is cheap, and so is refusing it: thousands of clients that send a body
slowly, or never, cost little. Most bodies are read completely here; of longer ones the app reads
the rest. A body that ends before its Content-Length is an error, here or there, so that a half is
never taken for the whole.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from common.errors import InvalidRequest, PromptmillError
from web.wire.error_answers import RETRY_AFTER, ErrorShapes, as_failure
from web.wire.request_log import new_request_id

BEGINNING = 16 * 2**10  # bytes

log = logging.getLogger("web.requests")


class Gate:
    """WSGI middleware around the whole app; `shapes` are those of its errors."""

    def __init__(self, app: WSGIApplication, shapes: ErrorShapes):
        self._app = app
        self._shapes = shapes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
            try:
                environ["wsgi.input"] = _begun(
                    environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0)
                )
            except PromptmillError as error:
                return self._refuse(error, environ, start_response)
        return self._app(environ, start_response)

    def _refuse(
        self, error: PromptmillError, environ: WSGIEnvironment, start_response: StartResponse
    ) -> list[bytes]:
        path, request_id = environ.get("PATH_INFO", ""), new_request_id()
        shape = self._shapes.of_path(path)
        status, body = shape.write(as_failure(error, request_id))
        headers = [
            ("Content-Type", shape.media_type),
            ("Content-Length", str(len(body))),
            ("X-Request-Id", request_id),
        ]
        if error.retry:
            headers.append(("Retry-After", str(RETRY_AFTER)))
        extra = {"request": request_id, "status": status}
        log.info("%s %s", environ["REQUEST_METHOD"], path, extra=extra)
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]


class BrokenOff(InvalidRequest):
    """The client sent less than its Content-Length says."""

    def __init__(self, missing: int):
        super().__init__(
            (
                f"the body broke off: {missing:,} bytes of its Content-Length did not come; send "
                "it again"
            ),
            status=400,
            code="incomplete_body",
            field="body",
        )


class _Rest(io.RawIOBase):
    """A body whose beginning was read already. `length` is that of the whole body; 0 where the
    client did not say."""

    def __init__(self, beginning: bytes, body: Any, length: int):
        self._beginning = beginning
        self._body = body
        self._missing = max(0, length - len(beginning))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._beginning[: len(buffer)] or self._read_on(len(buffer))
        self._beginning = self._beginning[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def _read_on(self, size: int) -> bytes:
        piece: bytes = self._body.read(size)
        if not piece and self._missing:
            raise BrokenOff(self._missing)
        self._missing = max(0, self._missing - len(piece))
        return piece


def _begun(body: Any, length: int) -> Any:
    beginning = body.read(BEGINNING)
    if len(beginning) == BEGINNING:
        return io.BufferedReader(_Rest(beginning, body, length), BEGINNING)
    if len(beginning) < length:
        raise BrokenOff(length - len(beginning))
    return io.BytesIO(beginning)
