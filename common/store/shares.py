"""Links with which anybody can read one job; only digests of their secrets are stored.

Knows Redis.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

import redis

from common import ids
from common.errors import Conflict, NotFound
from common.store import keys
from common.store.connection import redis_errors
from common.store.grants import Grant, digest_of, still_valid
from common.store.labels import check_label
from common.store.scripts import Scripts

MOST_SHARES = 20  # of a job


@dataclass(frozen=True)
class Share:
    """A link to a job; `id` is the digest of its secret."""

    id: str
    name: str
    created_at: float  # unix seconds


class Shares:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def create(self, job_id: str, tenant: str, name: str) -> str:
        """The secret of a new link. It works until it is revoked or the job is deleted.

        Raises:
            NotFound: the tenant has no such job.
            Conflict: the job has as many links as it may.
        """
        check_label(name)
        secret = secrets.token_urlsafe(32)
        with redis_errors():
            made = self._scripts.create_share(
                id=ids.job(job_id),
                tenant=tenant,
                share=digest_of(secret),
                name=name,
                most=MOST_SHARES,
            )
        if made < 0:
            raise NotFound(f"no job {job_id}")
        if not made:
            raise Conflict(
                f"the job has {MOST_SHARES} links, as many as it may; revoke one first",
                code="too_many_shares",
            )
        return secret

    def of(self, job_id: str) -> list[Share]:
        """A job's links, the oldest first."""
        with redis_errors():
            stored = self._client.hgetall(keys.job(job_id, "shares"))
        found = [Share(share.decode(), **json.loads(about)) for share, about in stored.items()]
        return sorted(found, key=lambda share: share.created_at)

    def revoke(self, job_id: str, share_id: str) -> None:
        """From now on the link is refused; one that is not there stays so."""
        with redis_errors():
            self._client.hdel(keys.job(job_id, "shares"), share_id)

    def grant_of_share(self, job_id: str, secret: str) -> Grant | None:
        """What a link gives: to read this job of its tenant. None if it is not valid."""
        with redis_errors():
            tenant = self._client.hget(keys.job(job_id), "tenant")
        if tenant is None:
            return None
        grant = Grant(tenant.decode(), share=digest_of(secret), job_id=job_id)
        return grant if still_valid(self._client, [grant]) else None
