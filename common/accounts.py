"""Tenants, API keys, single-use login links and the secret that signs browser sessions.

A key is `pm_<id>_<secret>`; only a digest of the secret is stored. SHA-256 without stretching is enough for 256
random bits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

import redis

from common import keys
from common.errors import InvalidRequest, NotFound, Unauthorized
from common.server import redis_errors

LOGIN_TTL = 600  # seconds
TENANT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
KEY = re.compile(r"pm_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class ApiKey:
    id: str
    tenant: str
    name: str
    created_at: float  # unix seconds
    revoked_at: float | None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Accounts:
    def __init__(self, client: redis.Redis):
        self._client = client

    def create_key(self, tenant: str, name: str = "") -> str:
        """A new key of a tenant, which comes to be if it was not. The key is told once, here."""
        if not TENANT_NAME.fullmatch(tenant):
            raise InvalidRequest(
                f"tenant {tenant!r}: use 1-63 of a-z 0-9 _ -, beginning with a letter or digit", field="tenant"
            )
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        record = {"tenant": tenant, "name": name, "digest": _digest(secret), "created_at": time.time()}
        with redis_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.sadd(keys.TENANTS, tenant)
            pipe.hsetnx(keys.tenant(tenant), "created_at", time.time())
            pipe.hset(keys.api_key(key_id), mapping=record)
            pipe.sadd(keys.KEYS, key_id)
            pipe.execute()
        return f"pm_{key_id}_{secret}"

    def tenant_of_key(self, key: str) -> str:
        """Who a key belongs to; `Unauthorized` for a malformed, unknown or revoked one, without saying which."""
        match = KEY.fullmatch(key)
        if match:
            with redis_errors():
                tenant, digest, revoked = self._client.hmget(keys.api_key(match[1]), "tenant", "digest", "revoked_at")
            if tenant and not revoked and hmac.compare_digest(digest.decode(), _digest(match[2])):
                return str(tenant.decode())
        raise Unauthorized("the API key is not valid here; make one with `promptmill key create`")

    def list_keys(self) -> list[ApiKey]:
        with redis_errors():
            ids = sorted(key_id.decode() for key_id in self._client.smembers(keys.KEYS))
            pipe = self._client.pipeline(transaction=False)
            for key_id in ids:
                pipe.hmget(keys.api_key(key_id), "tenant", "name", "created_at", "revoked_at")
            records = pipe.execute()
        return [
            ApiKey(key_id, tenant.decode(), name.decode(), float(created), float(revoked) if revoked else None)
            for key_id, (tenant, name, created, revoked) in zip(ids, records, strict=True)
        ]

    def revoke_key(self, key_id: str) -> None:
        """From now on the key is refused. `key_id` may be the whole key."""
        match = KEY.fullmatch(key_id)
        key_id = match[1] if match else key_id
        with redis_errors():
            if not self._client.exists(keys.api_key(key_id)):
                raise NotFound(f"no key {key_id}; `promptmill key list` shows them")
            self._client.hset(keys.api_key(key_id), "revoked_at", time.time())

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
                raise NotFound(f"no tenant {tenant}; `promptmill key create --tenant {tenant}` makes it")
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
        token = secrets.token_urlsafe(32)
        with redis_errors():
            self._client.set(keys.login(_digest(token)), tenant, ex=LOGIN_TTL)
        return token

    def take_login(self, token: str) -> str:
        """The tenant of a login token, which is used up; `Unauthorized` if it was used, too old or never made."""
        with redis_errors():
            tenant = self._client.getdel(keys.login(_digest(token)))
        if not tenant:
            raise Unauthorized("this login link was used already or is too old; `promptmill login` prints another")
        return str(tenant.decode())

    def session_secret(self) -> bytes:
        """Signs the browser's cookie; the same for every web process, made at first use."""
        with redis_errors():
            self._client.set(keys.SESSION_SECRET, secrets.token_hex(32), nx=True)
            return bytes(self._client.get(keys.SESSION_SECRET))
