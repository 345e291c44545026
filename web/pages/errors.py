"""Errors as a page: browsers get one on every path, those of the API included.

Programs get the error in the shape of the path's dialect. Under the paths of the pages that is
problem+json; form.js gets `{"errors": {input: [message]}}`.
"""

from __future__ import annotations

from flask import Response, g, jsonify, render_template, request

from web.wire.error_answers import Failure
from web.wire.problem import ProblemShape

TITLES = {
    401: "Please log in",
    403: "Refused",
    404: "Not found",
    409: "Not possible in this state",
    413: "Too large",
    503: "Temporarily unavailable",
}


class PageShape(ProblemShape):
    """Errors of a page's view are pages, whatever the client accepts, except for form.js; where no
    view was found they are problem+json."""

    def answer(self, failure: Failure) -> Response:
        if request.blueprint is None:
            return super().answer(failure)
        if wants_json():
            response = jsonify({"errors": {"": [_sentence(failure.message)]}})
            response.status_code = failure.status
            return response
        return Response(_html(failure.status, failure), failure.status, content_type=HTML)


HTML = "text/html; charset=utf-8"


def show_to_browsers(response: Response, failure: Failure) -> None:
    """Replace the body by a page if the client is a browser. The status stays that of the path's
    dialect."""
    if prefers_html() and response.is_json:
        response.set_data(_html(response.status_code, failure))
        response.content_type = HTML


def prefers_html() -> bool:
    """Whether the client prefers HTML to JSON, as browsers do. `accept_mimetypes.best` would not
    tell: it sorts by how specific a type is, and Chromium lists one of signed exchanges with a
    version parameter."""
    accepts = request.accept_mimetypes
    return bool(accepts["text/html"] > accepts["application/json"])


def wants_json() -> bool:
    """Whether the client wants JSON only, as form.js does."""
    return request.accept_mimetypes.best == "application/json"


def _html(status: int, failure: Failure) -> str:
    grant = g.get("grant")
    return render_template(
        "error.html",
        tenant=grant and not grant.share and grant.tenant,
        status=status,
        title=TITLES.get(status, "The request failed"),
        message=_sentence(failure.message),
        retry=failure.retry,
        for_rater=request.path.split("/")[1] == "rate",
    )


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:]
