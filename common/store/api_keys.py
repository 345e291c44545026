"""API keys: `pm_<id>_<secret>`, of which the secret's digest is stored. Knows Redis."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass

import redis

from common import ids
from common.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from common.store import keys
from common.store.connection import redis_errors
from common.store.grants import Grant, digest_of
from common.store.labels import check_label
from common.store.records import readable
from common.store.scripts import Scripts
from common.store.tenants import BAD_TENANT

KEY = re.compile(r"pm_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
MOST_KEYS = 100  # of a tenant that are valid at once
REVOKED_KEPT = 100  # of a tenant that stay in its list


@dataclass(frozen=True)
class ApiKey:
    id: str
    tenant: str
    name: str
    created_at: float  # unix seconds
    revoked_at: float | None


class ApiKeys:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def create_key(self, tenant: str, name: str = "") -> str:
        """Make a key of a tenant, which is made with its first key. Only here it is readable.

        Raises:
            Conflict: the tenant has as many keys as it may.
        """
        if not ids.TENANT.fullmatch(tenant):
            raise InvalidRequest(BAD_TENANT.format(tenant), field="tenant")
        check_label(name)
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with redis_errors():
            made = self._scripts.create_key(
                tenant=tenant,
                id=key_id,
                name=name,
                digest=digest_of(secret),
                most=MOST_KEYS,
                kept=REVOKED_KEPT,
            )
        if not made:
            raise Conflict(
                f"{tenant} has {MOST_KEYS} keys, as many as a tenant may have; revoke one first",
                code="too_many_keys",
            )
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
            if tenant and not revoked and hmac.compare_digest(digest.decode(), digest_of(match[2])):
                return Grant(tenant.decode(), key_id=match[1])
        raise Unauthorized("the API key is not valid here; make one with `promptmill key create`")

    def list_keys(self) -> list[ApiKey]:
        """Everybody's."""
        with redis_errors():
            return self._read(sorted(self._client.smembers(keys.KEYS)))

    def keys_of(self, tenant: str) -> list[ApiKey]:
        """A tenant's, the newest first, the revoked ones last."""
        with redis_errors():
            found = self._read(self._scripts.list_keys(tenant=tenant))
        return sorted(found, key=lambda key: (key.revoked_at is not None, -key.created_at))

    def _read(self, names: list[bytes]) -> list[ApiKey]:
        found = [name.decode() for name in names]
        pipe = self._client.pipeline(transaction=False)
        for key_id in found:
            pipe.hmget(keys.api_key(key_id), "tenant", "name", "created_at", "revoked_at")
        records = pipe.execute()
        return list(readable(zip(found, records, strict=True), _api_key, lambda pair: pair[0]))

    def revoke_key(self, key_id: str, tenant: str = "") -> None:
        """From now on the key is refused. `key_id` may be the whole key. Sessions end with the
        tenant's last key.

        Raises:
            NotFound: no such key, or not one of `tenant`, if that is given.
        """
        match = KEY.fullmatch(key_id)
        key_id = match[1] if match else key_id
        with redis_errors():
            if not self._scripts.revoke_key(id=key_id, tenant=tenant):
                raise NotFound(f"no key {key_id}; `promptmill key list` shows them")


def _api_key(pair: tuple[str, list[bytes | None]]) -> ApiKey:
    key_id, (tenant, name, created, revoked) = pair
    if tenant is None or name is None or created is None:
        raise ValueError("a field is missing")
    return ApiKey(
        key_id, tenant.decode(), name.decode(), float(created), float(revoked) if revoked else None
    )
