"""The pages' blueprint: its templates, its filters, the headers of each page, and the check that a
browser is logged in.

The views are in the other modules of this package; `register.py` adds them to the app. A page has
the policy `default-src 'self'`: no inline script or style runs, even if a text from a prompt or a
model were not escaped by a template.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, make_response, render_template
from flask.blueprints import BlueprintSetupState

from web import auth
from web.pages import return_to
from web.pages.errors import PageShape, show_to_browsers
from web.pages.filters import FILTERS
from web.wire.error_answers import answer_errors, rewrite_errors

CONTENT_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors "
    "'none'; object-src 'none'"
)

pages = Blueprint(
    "pages",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)
answer_errors(pages, PageShape(), "/")
rewrite_errors(pages, show_to_browsers)


@pages.record_once
def _set_up_templates(state: BlueprintSetupState) -> None:
    state.app.jinja_env.filters.update(FILTERS)
    state.app.jinja_env.trim_blocks = state.app.jinja_env.lstrip_blocks = True


@pages.after_app_request
def _add_page_headers(response: Response) -> Response:
    """Every page has the content policy and is kept private; errors shown as pages too."""
    if response.mimetype == "text/html":
        response.headers["Content-Security-Policy"] = CONTENT_POLICY
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


def logged_in(view: Callable[..., Any]) -> Callable[..., Any]:
    """Call the view with the tenant first; a browser that is not logged in gets the login page
    with status 401, and comes back after its login."""

    @wraps(view)
    def guarded(**arguments: Any) -> Any:
        tenant = auth.browser_tenant()
        if tenant:
            return view(tenant, **arguments)
        return return_to.remember(make_response(render_template("login.html"), 401))

    return guarded
