"""The pages that log a browser in and out. What a session is stands in `web/auth.py`."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from common.errors import Unauthorized
from web import auth
from web.pages import return_to
from web.pages.blueprint import pages


@pages.get("/login")
def login_page() -> Response:
    """Shows a login link's button. Opening the link does not use it up, because chat programs open
    links for a preview; pressing the button does."""
    return _login_page(token=request.args.get("token"))


@pages.post("/login")
def log_in() -> Any:
    auth.refuse_cross_site()
    response = return_to.forget(make_response(redirect(return_to.target(), 303)))
    try:
        return auth.start_session(response, request.form.get("token", ""))
    except Unauthorized as error:
        return _login_page(message=error.message, status=401)


@pages.post("/logout")
def log_out() -> Any:
    auth.refuse_cross_site()
    response = make_response(redirect(url_for("pages.login_page"), 303))
    # The browser's Back button must not show cached pages of the tenant either.
    response.headers["Clear-Site-Data"] = '"cache"'
    return auth.end_session(response, everywhere="everywhere" in request.form)


def _login_page(
    token: str | None = None, message: str | None = None, status: int = 200
) -> Response:
    response = make_response(render_template("login.html", token=token, message=message), status)
    # The address has the token in it. `no-referrer` would be stricter, but the button's POST would
    # then come from the origin `null`, which `refuse_cross_site` refuses.
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["Cache-Control"] = "no-store"
    return response
