"""Finds out which tenant a request is from: by an API key (`Authorization: Bearer pm_…`) or by a
browser's session cookie. Either is looked up in the store with one round trip for each request, so
that it is refused at once when it was revoked.

A session begins with a single-use login link. Opening the link shows a button; only the button's
POST uses the link up, so that link previews and mail scanners cannot. A link to one job is no
session: its cookie lets a browser read that job and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypedDict
from urllib.parse import urlsplit

from flask import Response, g, request

from common.errors import NotFound, PromptmillError, Unauthorized
from common.store.grants import Grant
from common.store.sessions import SESSION_AGE
from common.urls import origin as origin_of
from web.services.services import services

COOKIE = "promptmill_session"
SHARE_COOKIE = "promptmill_share"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Forbidden(PromptmillError):
    """A browser sent this on behalf of another site."""

    status = 403
    code = "cross_site_request"


class CookieOptions(TypedDict):
    path: str
    httponly: bool
    samesite: str
    secure: bool


def grant() -> Grant:
    """The key or session that this request was sent with; `still_valid` tells later whether it
    is still valid.

    Raises:
        Unauthorized: there is none.
        Forbidden: it is a session, and another site's page sent the request.
    """
    if "grant" not in g:
        g.grant = _grant_of_key() or _grant_of_cookie()
    if g.grant is None:
        raise Unauthorized(
            "send an API key as `Authorization: Bearer pm_…`, or log in with `promptmill login`"
        )
    found: Grant = g.grant
    return found


def tenant() -> str:
    """The tenant of this request. Raises what `grant` does."""
    return grant().tenant


def browser_tenant() -> str | None:
    """The tenant that is logged in with this browser, or None: pages then show how to log in."""
    try:
        return tenant()
    except Unauthorized:
        return None


def needs_tenant(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view gets the tenant as its first argument; requests without one are refused."""

    @wraps(view)
    def guarded(**arguments: Any) -> Any:
        return view(tenant(), **arguments)

    return guarded


def start_session(response: Response, login: str) -> Response:
    """Log this browser in with the token of a login link; `Unauthorized` if it is not valid any
    more."""
    value = services().sessions.begin_session(login)
    response.set_cookie(COOKIE, value, max_age=SESSION_AGE, **cookie_options())
    return response


def end_session(response: Response, everywhere: bool) -> Response:
    """Log this browser out, or every browser of its tenant. Does nothing for one that is logged out
    already."""
    found = _grant_of_cookie()
    if found and everywhere:
        services().sessions.end_sessions(found.tenant)
    elif found:
        services().sessions.end_session(found)
    response.delete_cookie(COOKIE, **cookie_options())
    return response


def open_share(response: Response, job_id: str, secret: str) -> Response:
    """Let this browser read the job of a link, as long as the link is valid."""
    path = f"{request.script_root}/read/{job_id}"
    options = cookie_options()
    options["path"] = path
    response.set_cookie(SHARE_COOKIE, secret, max_age=SESSION_AGE, **options)
    return response


def reader_of(job_id: str) -> str:
    """The tenant of a job that this browser may read because it has opened a link to it.

    Raises:
        NotFound: it has not, or the link was revoked.
    """
    g.grant = services().shares.grant_of_share(job_id, request.cookies.get(SHARE_COOKIE, ""))
    if g.grant is None:
        raise NotFound(
            "this link does not work (any more): ask the person who sent it for a new one"
        )
    return tenant()


def refuse_cross_site() -> None:
    """Raise `Forbidden` if another site's page made the browser send this request.

    Current browsers say where an unsafe request comes from. A client that does not say it is no
    browser, or has no cookie to send across sites (SameSite=Lax).
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _is_own(origin)):
        raise Forbidden(
            "this request came from another site's page; open the page of this server and try "
            "again. If this is its page, a proxy changes the Host header: set "
            "PROMPTMILL_PUBLIC_URL to the address that the browser shows"
        )


def _is_own(origin: str) -> bool:
    """Whether pages of this origin are this server's: that of the public URL, or of the host in the
    request. Without a public URL the scheme may be unknown, because requests through a TLS proxy
    that is not trusted look like plain HTTP."""
    public = services().settings.public_url
    if public is None:
        return urlsplit(origin).netloc == request.host
    return origin in (origin_of(public), f"{request.scheme}://{request.host}")


def cookie_options() -> CookieOptions:
    """`Secure` where browsers use TLS, as the proxy that ends it or the public URL says."""
    secure = request.is_secure or services().settings.base_url.startswith("https://")
    return {
        "path": request.script_root or "/",
        "httponly": True,
        "samesite": "Lax",
        "secure": secure,
    }


def _grant_of_key() -> Grant | None:
    given = request.headers.get("Authorization")
    if given is None:
        return None
    scheme, _, key = given.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("the Authorization header must be `Bearer pm_…`")
    return services().api_keys.grant_of_key(key.strip())


def _grant_of_cookie() -> Grant | None:
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return None
    found = services().sessions.grant_of_cookie(cookie)
    if found and request.method not in SAFE_METHODS:
        refuse_cross_site()
    return found
