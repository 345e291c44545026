"""What the current request says about its client, beside who it is (`web/auth.py`)."""

from __future__ import annotations

from collections.abc import Callable

from flask import request

from web.wire.connection import hung_up


def idempotency_key() -> str | None:
    """The key that makes sending the request again harmless; checked where it is used."""
    return request.headers.get("Idempotency-Key")


def client_gone() -> Callable[[], bool]:
    """A function that tells whether the client has hung up."""
    return hung_up(request.environ.get("gunicorn.socket"))
