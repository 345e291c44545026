"""Who is asking: an API key (`Authorization: Bearer pm_…`) or a browser's session cookie, each of one tenant.

A session begins with a single-use login link. Opening the link shows a button and uses nothing up, so that a chat's
link preview or a mail scanner cannot spend it; pressing the button does, in a POST.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from flask import Response, g, request
from itsdangerous import BadData, URLSafeTimedSerializer

from common.errors import PromptmillError, Unauthorized
from web.services import services

COOKIE = "promptmill_session"
SESSION_AGE = 30 * 86400  # seconds
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Forbidden(PromptmillError):
    """A browser sent this on behalf of another site."""

    status = 403
    code = "cross_site_request"


def tenant() -> str:
    """Whose request this is, by key or cookie.

    Raises:
        Unauthorized: nobody's.
        Forbidden: a cookie's, but another site's page sent it.
    """
    if "tenant" not in g:
        g.tenant = _tenant_of_key() or _tenant_of_cookie()
    if g.tenant is None:
        raise Unauthorized("send an API key as `Authorization: Bearer pm_…`, or log in with `promptmill login`")
    return str(g.tenant)


def browser_tenant() -> str | None:
    """Who is logged in with this browser, or None: for pages, which then show the way to log in."""
    try:
        return tenant()
    except Unauthorized:
        return None


def needs_tenant(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view gets `tenant` as its first argument; nobody's requests are refused."""

    @wraps(view)
    def guarded(**arguments: Any) -> Any:
        return view(tenant(), **arguments)

    return guarded


def start_session(response: Response, tenant: str) -> Response:
    """Log this browser in."""
    value = _serializer().dumps(tenant)
    response.set_cookie(COOKIE, value, max_age=SESSION_AGE, httponly=True, samesite="Lax", secure=request.is_secure)
    return response


def end_session(response: Response) -> Response:
    response.delete_cookie(COOKIE, httponly=True, samesite="Lax", secure=request.is_secure)
    return response


def refuse_cross_site() -> None:
    """Raise `Forbidden` if another site's page made the browser send this.

    Every browser of the last years says where an unsafe request comes from; what says nothing is no browser, or got no
    cookie across sites (SameSite=Lax).
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = {request.host, urlsplit(services().settings.base_url).netloc}
    if (site is not None and site not in ("same-origin", "none")) or (
        origin is not None and urlsplit(origin).netloc not in own
    ):
        raise Forbidden("this request came from another site's page; open the page of this server and try again")


def _tenant_of_key() -> str | None:
    given = request.headers.get("Authorization")
    if given is None:
        return None
    scheme, _, key = given.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("the Authorization header must be `Bearer pm_…`")
    return services().accounts.tenant_of_key(key.strip())


def _tenant_of_cookie() -> str | None:
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return None
    try:
        found = str(_serializer().loads(cookie, max_age=SESSION_AGE))
    except BadData:
        return None
    if request.method not in SAFE_METHODS:
        refuse_cross_site()
    return found


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(services().accounts.session_secret(), salt="promptmill-session")
