"""Errors as a page, for browsers: on every path, the API's included.

Programs get what the path's dialect gives them; under the pages' own paths that is problem+json, or
for the form's script the errors by field.
"""

from __future__ import annotations

from flask import Response, g, jsonify, render_template, request

from web.wire.error_answers import Failure
from web.wire.problem import ProblemShape

TITLES = {
    401: "Log in first",
    403: "That came from elsewhere",
    404: "Not here",
    409: "Not possible now",
    413: "Too large",
    503: "Out of reach",
}


class PageShape(ProblemShape):
    """Where a page's view fails it is a page that most clients want, whatever they accept."""

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
    """Give a browser the error as a page. Its status stays as the dialect of the path has it."""
    if from_a_browser() and response.is_json:
        response.set_data(_html(response.status_code, failure))
        response.content_type = HTML


def from_a_browser() -> bool:
    """Whether HTML is what the client likes best. Not by the `best` of its list, which goes by
    details first: Chromium names a type of signed files with a version at its end."""
    accepts = request.accept_mimetypes
    return bool(accepts["text/html"] > accepts["application/json"])


def wants_json() -> bool:
    return request.accept_mimetypes.best == "application/json"


def _html(status: int, failure: Failure) -> str:
    grant = g.get("grant")
    return render_template(
        "error.html",
        tenant=grant and grant.tenant,
        status=status,
        title=TITLES.get(status, "That did not work"),
        message=_sentence(failure.message),
        retry=failure.retry,
    )


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:]
