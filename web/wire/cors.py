"""Cross-origin requests (CORS): lets pages of other sites call the API from a browser, with a key.

Only sites that `PROMPTMILL_CORS_ORIGINS` names may, and never with the session's cookie: no answer
allows credentials, so a browser does not show such an answer to the page. This server's own pages
are not part of the API.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from flask import Flask, Response, request

from common.settings import Settings
from web.wire.routes import methods_here

API = re.compile(
    r"/(v1(/.*)?|tokenize|detokenize|tokenizer_info|health|healthz|readyz|metrics|openapi\.json)",
    re.DOTALL,
)
HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
MOST_HEADERS = 50
EXPOSED = (
    "Content-Disposition",
    "Idempotent-Replayed",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Ignored-Params",
    "X-Request-Id",
    "X-Should-Retry",
)
MAX_AGE = 7200  # seconds a browser may keep what a preflight said; Chromium keeps none longer


def register(app: Flask, settings: Settings) -> None:
    """To be called before other code that answers OPTIONS. Does nothing without the setting."""
    if origins := settings.origins:
        app.before_request(lambda: _preflight(origins))
        app.after_request(_add_headers(origins))


def _preflight(origins: frozenset[str]) -> Response | None:
    wanted = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or wanted is None or not _allowed(origins):
        return None
    response = Response(status=204)
    # On an unknown path the page sends its request, and sees the 404.
    response.headers["Access-Control-Allow-Methods"] = ", ".join(methods_here() or ["GET", "POST"])
    response.headers["Access-Control-Allow-Headers"] = ", ".join(_headers())
    response.headers["Access-Control-Max-Age"] = str(MAX_AGE)
    return response


def _headers() -> list[str]:
    """Headers that the API reads, and others that the page asks for: clients send some about
    themselves."""
    asked = request.headers.get("Access-Control-Request-Headers", "").split(",")[:MOST_HEADERS]
    known = {name.lower() for name in HEADERS}
    more = (name.strip().lower() for name in asked)
    return [
        *HEADERS,
        *dict.fromkeys(name for name in more if HEADER.fullmatch(name) and name not in known),
    ]


def _add_headers(origins: frozenset[str]) -> Callable[[Response], Response]:
    def add_headers(response: Response) -> Response:
        if not API.fullmatch(request.path):
            return response
        if "*" not in origins:
            response.vary.add("Origin")
        if _allowed(origins):
            origin = "*" if "*" in origins else request.headers["Origin"]
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
        return response

    return add_headers


def _allowed(origins: frozenset[str]) -> bool:
    origin = request.headers.get("Origin")
    return (
        origin is not None
        and bool(API.fullmatch(request.path))
        and ("*" in origins or origin in origins)
    )
