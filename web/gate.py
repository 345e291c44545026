"""Waits for the beginning of a request's body before the app begins with the request.

A request that waits here is cheap, and so is refusing it: thousands of clients that send a body slowly, or never, cost
little. Most bodies are read whole here; of longer ones the app reads the rest itself.
"""

from __future__ import annotations

import io
import logging
import secrets
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from common.errors import PromptmillError
from web.problems import RETRY_AFTER, error_body

BEGINNING = 16 * 2**10  # bytes

log = logging.getLogger("web.requests")


class Gate:
    """WSGI middleware around the whole app."""

    def __init__(self, app: Any):
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
            try:
                environ["wsgi.input"] = _begun(environ["wsgi.input"])
            except PromptmillError as error:
                return _refuse(error, environ, start_response)
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


class _Rest(io.RawIOBase):
    """A body whose beginning was read."""

    def __init__(self, beginning: bytes, body: Any):
        self._beginning = beginning
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._beginning[: len(buffer)] or self._body.read(len(buffer))
        self._beginning = self._beginning[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _begun(body: Any) -> Any:
    beginning = body.read(BEGINNING)
    if len(beginning) < BEGINNING:
        return io.BytesIO(beginning)
    return io.BufferedReader(_Rest(beginning, body), BEGINNING)


def _refuse(error: PromptmillError, environ: dict[str, Any], start_response: Any) -> list[bytes]:
    request_id = f"req_{secrets.token_hex(8)}"
    path = environ.get("PATH_INFO", "")
    status, body, kind = error_body(path, error.status, error.code, error.message, request_id)
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Request-Id", request_id)]
    if error.retry:
        headers.append(("Retry-After", str(RETRY_AFTER)))
    log.info("%s %s", environ["REQUEST_METHOD"], path, extra={"request": request_id, "status": status})
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]
