"""Tenants: what is kept of each beside its jobs, keys and sessions. Knows Redis."""

from __future__ import annotations

import base64
import secrets

import redis

from common.errors import NotFound
from common.store import keys
from common.store.connection import redis_errors

BAD_TENANT = "tenant {!r}: use 1-63 of a-z 0-9 _ -, beginning with a letter or digit"


class Tenants:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client

    def webhook_secret(self, tenant: str) -> str:
        """The tenant's webhook secret (`whsec_` and base64), made at first use."""
        made = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        with redis_errors():
            self._client.hsetnx(keys.tenant(tenant), "webhook_secret", made)
            stored = self._client.hget(keys.tenant(tenant), "webhook_secret")
        return str(stored.decode())

    def set_webhook_url(self, tenant: str, url: str | None) -> None:
        """Set the URL that hears of the tenant's batches which name none; None for none."""
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
