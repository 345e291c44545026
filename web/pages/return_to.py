"""Where a browser goes after its login: to the page that it was asked to log in for.

The page's address is kept in a cookie until then.
"""

from __future__ import annotations

from flask import Response, request, url_for

from web import auth

COOKIE = "promptmill_next"
AGE = 3600  # seconds
LONGEST = 2000  # characters


def remember(response: Response) -> Response:
    """Keep the address of this page, which asks for a login. Only what a GET shows can be returned
    to."""
    address = request.full_path.rstrip("?")
    if request.method == "GET" and len(address) <= LONGEST:
        response.set_cookie(COOKIE, address, max_age=AGE, **auth.cookie_options())
    return response


def target() -> str:
    """Where to go now: always a page of this server."""
    kept = request.cookies.get(COOKIE, "")
    # A browser takes `//host` and `/\\host` for another server, and drops tabs and line ends.
    inside = kept.startswith("/") and not kept.startswith(("//", "/\\"))
    if inside and len(kept) <= LONGEST and kept.isascii() and kept.isprintable():
        return request.script_root + kept
    return url_for("pages.submit_form")


def forget(response: Response) -> Response:
    """The next login leads to the form again."""
    if COOKIE in request.cookies:
        response.delete_cookie(COOKIE, **auth.cookie_options())
    return response
