"""Single-use login links, invitations, and browser sessions, whose cookie is `<tenant>.<secret>`.

Only digests of the secrets are stored. Knows Redis.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

import redis

from common import ids
from common.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from common.store import keys
from common.store.connection import redis_errors
from common.store.grants import Grant, digest_of, still_valid
from common.store.labels import check_label
from common.store.scripts import Scripts
from common.store.tenants import BAD_TENANT

LINK_AGE = 600  # seconds
INVITE_AGE = 7 * 86400  # seconds
MOST_INVITES = 50  # of a tenant that are open at once
SESSION_AGE = 30 * 86400  # seconds
MOST_SESSIONS = 100  # of a tenant; the next login ends the oldest
COOKIE = re.compile(rf"({ids.TENANT.pattern})\.([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True)
class Invite:
    """An invitation that was not used yet; `id` is its digest."""

    id: str
    name: str
    ends_at: float  # unix seconds


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
            self._scripts.make_link(
                tenant=tenant,
                link=digest_of(token),
                life=LINK_AGE * 1000,
                invites=0,
                name="",
                most=0,
            )
        return token

    def invite(self, tenant: str, name: str) -> str:
        """A token for one browser login within a week, listed under `name` until it is used.

        Raises:
            Conflict: as many invitations are open as may be.
        """
        if not check_label(name):
            raise InvalidRequest("say whom you invite", field="name")
        token = secrets.token_urlsafe(32)
        with redis_errors():
            made = self._scripts.make_link(
                tenant=tenant,
                link=digest_of(token),
                life=INVITE_AGE * 1000,
                invites=1,
                name=name,
                most=MOST_INVITES,
            )
        if not made:
            raise Conflict(
                f"{MOST_INVITES} invitations are open, as many as may be; take one back first",
                code="too_many_invites",
            )
        return token

    def invites(self, tenant: str) -> list[Invite]:
        """The invitations that can still be used, the newest first."""
        with redis_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.zrevrangebyscore(keys.links(tenant), "+inf", time.time() * 1000, withscores=True)
            pipe.hgetall(keys.invites(tenant))
            links, names = pipe.execute()
        return [
            Invite(link.decode(), names[link].decode(), ends / 1000)
            for link, ends in links
            if link in names
        ]

    def take_back(self, tenant: str, invite_id: str) -> None:
        """From now on the invitation is refused; one that was used or taken back already stays
        so."""
        with redis_errors():
            self._scripts.end_link(tenant=tenant, link=invite_id)

    def browsers(self, tenant: str) -> int:
        """How many browsers are logged in."""
        with redis_errors():
            now = time.time() * 1000
            return int(self._client.zcount(keys.sessions(tenant), now, "+inf"))

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
