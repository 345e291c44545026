"""Reads the rest of a request's body for a moment after the answer was sent, then closes the
connection.

A client sees an early answer only while the server still reads what it sends, and the next request
of a connection comes only after the body. Gunicorn would read it 1 KiB at a time and serve no other
request meanwhile.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import gevent
from werkzeug.wsgi import ClosingIterator

from common.cooperate import Steps

PIECE = 64 * 2**10  # bytes read at once
PATIENCE = 10.0  # seconds


class ReadsOn:
    """WSGI middleware: leaves no body unread."""

    def __init__(self, application: WSGIApplication):
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        stream = environ["wsgi.input"]
        answer = self._application(environ, start_response)
        if (
            environ.get("CONTENT_LENGTH") in (None, "", "0")
            and "HTTP_TRANSFER_ENCODING" not in environ
        ):
            return answer
        return ClosingIterator(answer, partial(_finish, stream, environ.get("gunicorn.socket")))


def _finish(stream: Any, connection: socket.socket | None) -> None:
    if connection is None:  # not served by gunicorn
        return
    with suppress(Exception):  # the body is not wanted, so it does not matter why it cannot be read
        if _read_on(stream):
            return
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _read_on(stream: Any) -> bool:
    """Read to the end; whether it came in time."""
    steps = Steps()
    piece = b"some"
    with gevent.Timeout(PATIENCE, False):
        while piece:
            piece = stream.read(PIECE)
            steps.step()
    return not piece
