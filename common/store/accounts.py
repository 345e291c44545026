"""Tenants, API keys, single-use login links and browser sessions.

A key is `pm_<id>_<secret>`, a session's cookie `<tenant>.<secret>`; only digests of the secrets are
stored. SHA-256 without stretching is enough for 256 random bits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import redis

from common import ids
from common.errors import InvalidRequest, NotFound, Unauthorized
from common.store import keys
from common.store.connection import redis_errors
from common.store.records import readable
from common.store.scripts import Scripts

LINK_AGE = 600  # seconds
SESSION_AGE = 30 * 86400  # seconds
MOST_SESSIONS = 100  # of a tenant; the next login ends the oldest
BAD_TENANT = "tenant {!r}: use 1-63 of a-z 0-9 _ -, beginning with a letter or digit"
KEY = re.compile(r"pm_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
COOKIE = re.compile(rf"({ids.TENANT.pattern})\.([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True)
class ApiKey:
    id: str
    tenant: str
    name: str
    created_at: float  # unix seconds
    revoked_at: float | None


@dataclass(frozen=True)
class Grant:
    """What a request was let in by: an API key (its id) or a browser's session (its digest). The
    other one is empty."""

    tenant: str
    key_id: str = ""
    session: str = ""


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _api_key(pair: tuple[str, list[bytes | None]]) -> ApiKey:
    key_id, (tenant, name, created, revoked) = pair
    if tenant is None or name is None or created is None:
        raise ValueError("a field is missing")
    return ApiKey(
        key_id, tenant.decode(), name.decode(), float(created), float(revoked) if revoked else None
    )


class Accounts:
    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def create_key(self, tenant: str, name: str = "") -> str:
        """A new key of a tenant, which comes to be if it was not. The key is told once, here."""
        if not ids.TENANT.fullmatch(tenant):
            raise InvalidRequest(BAD_TENANT.format(tenant), field="tenant")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        record = {
            "tenant": tenant,
            "name": name,
            "digest": _digest(secret),
            "created_at": time.time(),
        }
        with redis_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.sadd(keys.TENANTS, tenant)
            pipe.hsetnx(keys.tenant(tenant), "created_at", time.time())
            pipe.hset(keys.api_key(key_id), mapping=record)
            pipe.sadd(keys.KEYS, key_id)
            pipe.execute()
        return f"pm_{key_id}_{secret}"

    def tenant_of_key(self, key: str) -> str:
        """Who a key belongs to; `Unauthorized` as for `grant_of_key`."""
        return self.grant_of_key(key).tenant

    def grant_of_key(self, key: str) -> Grant:
        """What a key gives; `Unauthorized` for a malformed, unknown or revoked one, without saying
        which."""
        match = KEY.fullmatch(key)
        if match:
            with redis_errors():
                tenant, digest, revoked = self._client.hmget(
                    keys.api_key(match[1]), "tenant", "digest", "revoked_at"
                )
            if tenant and not revoked and hmac.compare_digest(digest.decode(), _digest(match[2])):
                return Grant(tenant.decode(), key_id=match[1])
        raise Unauthorized("the API key is not valid here; make one with `promptmill key create`")

    def list_keys(self) -> list[ApiKey]:
        with redis_errors():
            ids = sorted(key_id.decode() for key_id in self._client.smembers(keys.KEYS))
            pipe = self._client.pipeline(transaction=False)
            for key_id in ids:
                pipe.hmget(keys.api_key(key_id), "tenant", "name", "created_at", "revoked_at")
            records = pipe.execute()
        return list(readable(zip(ids, records, strict=True), _api_key, lambda pair: pair[0]))

    def valid(self, grants: Collection[Grant]) -> set[Grant]:
        """Those whose key is not revoked and whose session has not ended; one round trip for all of
        them."""
        asked = list(grants)
        with redis_errors():
            pipe = self._client.pipeline(transaction=False)
            for grant in asked:
                if grant.session:
                    pipe.zscore(keys.sessions(grant.tenant), grant.session)
                else:
                    pipe.hmget(keys.api_key(grant.key_id), "tenant", "revoked_at")
            found = pipe.execute()
        return {
            grant for grant, record in zip(asked, found, strict=True) if _is_valid(grant, record)
        }

    def revoke_key(self, key_id: str) -> None:
        """From now on the key is refused. `key_id` may be the whole key. Sessions end with the
        tenant's last key."""
        match = KEY.fullmatch(key_id)
        key_id = match[1] if match else key_id
        with redis_errors():
            if not self._scripts.revoke_key(key_id):
                raise NotFound(f"no key {key_id}; `promptmill key list` shows them")

    def webhook_secret(self, tenant: str) -> str:
        """The tenant's webhook secret (`whsec_` and base64), made at first use."""
        made = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        with redis_errors():
            self._client.hsetnx(keys.tenant(tenant), "webhook_secret", made)
            stored = self._client.hget(keys.tenant(tenant), "webhook_secret")
        return str(stored.decode())

    def set_webhook_url(self, tenant: str, url: str | None) -> None:
        """Whom to tell of the tenant's batches that name nobody themselves; None for nobody."""
        with redis_errors():
            if not self._client.sismember(keys.TENANTS, tenant):
                raise NotFound(
                    f"no tenant {tenant}; `promptmill key create --tenant {tenant}` makes it"
                )
            if url is None:
                self._client.hdel(keys.tenant(tenant), "webhook_url")
            else:
                self._client.hset(keys.tenant(tenant), "webhook_url", url)

    def webhook_url(self, tenant: str) -> str | None:
        with redis_errors():
            stored = self._client.hget(keys.tenant(tenant), "webhook_url")
        return stored.decode() if stored else None

    def create_login(self, tenant: str) -> str:
        """A token for one browser login, good for ten minutes."""
        if not ids.TENANT.fullmatch(tenant):
            raise InvalidRequest(BAD_TENANT.format(tenant), field="tenant")
        token = secrets.token_urlsafe(32)
        with redis_errors():
            self._scripts.make_link(tenant, _digest(token), LINK_AGE * 1000)
        return token

    def begin_session(self, token: str) -> str:
        """The cookie of a new session. The login token is used up.

        Raises:
            Unauthorized: it was used, is too old or was never made.
        """
        secret = secrets.token_urlsafe(32)
        with redis_errors():
            tenant = self._scripts.begin_session(
                _digest(token), _digest(secret), SESSION_AGE * 1000, MOST_SESSIONS
            )
        if not tenant:
            raise Unauthorized(
                "this login link was used already or is too old; `promptmill login` prints another"
            )
        return f"{tenant.decode()}.{secret}"

    def grant_of_cookie(self, cookie: str) -> Grant | None:
        """What a session's cookie gives; None for a malformed one or one whose session is over."""
        match = COOKIE.fullmatch(cookie)
        grant = Grant(match[1], session=_digest(match[2])) if match else None
        return grant if grant and self.valid([grant]) else None

    def end_session(self, grant: Grant) -> None:
        """Log one browser out: copies of its cookie are refused from now on."""
        assert grant.session
        with redis_errors():
            self._scripts.end_sessions(grant.tenant, grant.session)

    def end_sessions(self, tenant: str) -> None:
        """Log out every browser of a tenant; login links that nobody used yet are void, too.

        Raises:
            NotFound: there is no such tenant, so that a misspelt one is not taken for logged out.
        """
        with redis_errors():
            if not self._scripts.end_sessions(tenant, "") and not self._client.sismember(
                keys.TENANTS, tenant
            ):
                raise NotFound(
                    f"no tenant {tenant} has a key or a session; `promptmill key list` shows them"
                )


def _is_valid(grant: Grant, record: Any) -> bool:
    """`record` is what the store has of it."""
    if grant.session:
        return record is not None and float(record) > time.time() * 1000
    tenant, revoked = record
    return tenant == grant.tenant.encode() and not revoked
