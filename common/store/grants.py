"""Grants: what lets a request in, and whether it still does. Knows Redis; nothing of requests.

Only digests of secrets are stored. SHA-256 without stretching is enough for 256 random bits.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import redis

from common.store import keys
from common.store.connection import redis_errors


@dataclass(frozen=True)
class Grant:
    """What a request was let in by: an API key (its id), a browser's session (its digest), or a
    link to one job (its digest and the job's id). The others are empty."""

    tenant: str
    key_id: str = ""
    session: str = ""
    share: str = ""
    job_id: str = ""


def digest_of(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def still_valid(client: redis.Redis, grants: Collection[Grant]) -> set[Grant]:
    """Those whose key or link is not revoked and whose session has not ended; one round trip for
    all of them."""
    asked = list(grants)
    with redis_errors():
        pipe = client.pipeline(transaction=False)
        for grant in asked:
            if grant.session:
                pipe.zscore(keys.sessions(grant.tenant), grant.session)
            elif grant.share:
                pipe.hexists(keys.job(grant.job_id, "shares"), grant.share)
                pipe.hexists(keys.tenant(grant.tenant), "closed_at")
            else:
                pipe.hmget(keys.api_key(grant.key_id), "tenant", "revoked_at")
        answers = iter(pipe.execute())
    return {grant for grant in asked if _is_valid(grant, answers)}


def _is_valid(grant: Grant, answers: Iterator[Any]) -> bool:
    """`answers` are what the store has of this grant, and of those after it."""
    record = next(answers)
    if grant.session:
        return record is not None and float(record) > time.time() * 1000
    if grant.share:
        # A tenant is closed when its last key was revoked.
        is_closed = next(answers)
        return bool(record) and not is_closed
    tenant, revoked = record
    return tenant == grant.tenant.encode() and not revoked
