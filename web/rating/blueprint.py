"""The blueprint of everything under `/rate`, and the check of a rater's cookie.

The link's secret becomes a cookie for these paths and no others, so that it is in no later address
and opens nothing else. Opening a link uses nothing up: programs open links for a preview.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, request

from common.store.raters import RaterGrant, gone
from web import auth
from web.services.services import services
from web.wire.bodies import refuse_unread
from web.wire.error_answers import answer_errors
from web.wire.problem import ProblemShape

COOKIE = "promptmill_rater"
COOKIE_AGE = 90 * 86400  # seconds

rating = Blueprint(
    "rating",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/rate/static",
)
rating.before_request(refuse_unread)
answer_errors(rating, ProblemShape(), "/rate")


@rating.after_request
def _keep_nowhere(response: Response) -> Response:
    """What one rater sees is kept by no cache, the browser's own included: it goes back to a task
    that may be rated already."""
    if request.endpoint != "rating.static":
        response.headers["Cache-Control"] = "no-store"
    return response


def for_raters(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view gets as its first argument what the browser's link gives; without one that works it
    is a 404."""

    @wraps(view)
    def guarded(**arguments: Any) -> Any:
        grant = services().raters.grant_of_secret(request.cookies.get(COOKIE, ""))
        if grant is None:
            raise gone()
        if request.method not in auth.SAFE_METHODS:
            auth.refuse_cross_site()
        return view(grant, **arguments)

    return guarded


def open_link(response: Response, secret: str) -> RaterGrant:
    """Let this browser rate with the link of this secret.

    Raises:
        NotFound: the link does not work.
    """
    grant = services().raters.grant_of_secret(secret)
    if grant is None:
        raise gone()
    options = auth.cookie_options()
    options["path"] = f"{request.script_root}/rate"
    response.set_cookie(COOKIE, secret, max_age=COOKIE_AGE, **options)
    return grant
