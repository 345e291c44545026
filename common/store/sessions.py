"""Single-use login links, and browser sessions, whose cookie is `<tenant>.<secret>`; only digests
of the secrets are stored. Knows Redis."""

from __future__ import annotations

import re
import secrets

import redis

from common import ids
from common.errors import InvalidRequest, NotFound, Unauthorized
from common.store import keys
from common.store.connection import redis_errors
from common.store.grants import Grant, digest_of, still_valid
from common.store.scripts import Scripts
from common.store.tenants import BAD_TENANT

LINK_AGE = 600  # seconds
SESSION_AGE = 30 * 86400  # seconds
MOST_SESSIONS = 100  # of a tenant; the next login ends the oldest
COOKIE = re.compile(rf"({ids.TENANT.pattern})\.([A-Za-z0-9_-]{{43}})")


class Sessions:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def create_login(self, tenant: str) -> str:
        """A token for one browser login, good for ten minutes."""
        if not ids.TENANT.fullmatch(tenant):
            raise InvalidRequest(BAD_TENANT.format(tenant), field="tenant")
        token = secrets.token_urlsafe(32)
        with redis_errors():
            self._scripts.make_link(tenant=tenant, link=digest_of(token), life=LINK_AGE * 1000)
        return token

    def begin_session(self, token: str) -> str:
        """The cookie of a new session. The login token is used up.

        Raises:
            Unauthorized: it was used, is too old or was never made.
        """
        secret = secrets.token_urlsafe(32)
        with redis_errors():
            tenant = self._scripts.begin_session(
                link=digest_of(token),
                session=digest_of(secret),
                life=SESSION_AGE * 1000,
                most=MOST_SESSIONS,
            )
        if not tenant:
            raise Unauthorized(
                "this login link was used already or is too old; `promptmill login` prints another"
            )
        return f"{tenant.decode()}.{secret}"

    def grant_of_cookie(self, cookie: str) -> Grant | None:
        """What a session's cookie gives; None for a malformed one or one whose session is over."""
        match = COOKIE.fullmatch(cookie)
        grant = Grant(match[1], session=digest_of(match[2])) if match else None
        return grant if grant and still_valid(self._client, [grant]) else None

    def end_session(self, grant: Grant) -> None:
        """Log one browser out: copies of its cookie are refused from now on."""
        assert grant.session
        with redis_errors():
            self._scripts.end_sessions(tenant=grant.tenant, session=grant.session)

    def end_sessions(self, tenant: str) -> None:
        """Log out every browser of a tenant; login links that were not used become invalid, too.

        Raises:
            NotFound: there is no such tenant, so that a misspelt one is not taken for logged out.
        """
        with redis_errors():
            if not self._scripts.end_sessions(
                tenant=tenant, session=""
            ) and not self._client.sismember(keys.TENANTS, tenant):
                raise NotFound(
                    f"no tenant {tenant} has a key or a session; `promptmill key list` shows them"
                )
