"""Gives every request an id, and logs and counts it when its answer is ready."""

from __future__ import annotations

import logging
import secrets
import time

from flask import Flask, Response, g, request

from web.services.services import services
from web.wire.routes import template

METHODS = {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"}

log = logging.getLogger("web.requests")


def register(app: Flask) -> None:
    """To be called first: what else runs before a request may fail, and needs the id then."""
    app.before_request(_begin)
    app.after_request(_end)


def new_request_id() -> str:
    return f"req_{secrets.token_hex(8)}"


def _begin() -> None:
    g.request_id = new_request_id()
    g.began = time.monotonic()


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")  # pages and static files say otherwise
    _count(response.status_code)
    milliseconds = round((time.monotonic() - g.began) * 1000, 1)
    # Without the query: the token of a login link is in it.
    extra = {"request": g.request_id, "status": response.status_code, "ms": milliseconds}
    log.info("%s %s", request.method, request.path, extra=extra)
    return response


def _count(status: int) -> None:
    """Count the request under the template of its route, so that the number of series does not
    depend on what clients ask for."""
    route = template(request.url_rule.rule) if request.url_rule else "none"
    method = request.method if request.method in METHODS else "other"
    services().tally.count("requests", route, method, str(status))
