"""Admission: whether there is room for what a tenant wants to store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import redis

from common.errors import TooMany, Unavailable, storage_full
from common.store import keys
from common.store.connection import redis_errors

MEMORY_SHARE = 0.75  # of maxmemory; the rest is for what comes and goes
MEMORY_AGE = 1.0  # seconds
BYTES_A_TOKEN = 3  # of a stored result: 4-5 characters, compressed, with its share of the record


@dataclass(frozen=True, slots=True)
class Limits:
    """What may wait and what may be kept; 0 for no limit. A tenant's interactive jobs do not count
    as kept."""

    tenant_items: int = 0  # Items that a tenant may have waiting.
    tenant_tokens: int = 0  # Tokens that these may need.
    tenant_bytes: int = 0  # Bytes that these may take.
    total_items: int = 0  # Items that all tenants together may have waiting.
    total_tokens: int = 0  # Tokens that these may need.
    total_bytes: int = 0  # Bytes that these may take.
    stored_bytes: int = 0  # Bytes that a tenant may keep, of jobs, files, presets and studies.


NO_LIMITS = Limits()


def refuse_overfull(outcome: str, limits: Limits = NO_LIMITS) -> None:
    """Raise the error of a limit that `attach` or `append` met, of the tenant or of all tenants."""
    if outcome == "stored_full":
        raise storage_full(limits.stored_bytes)
    if outcome == "tenant_full":
        raise TooMany(
            "you have as many items, tokens or bytes waiting as you may; submit again when some "
            "have run"
        )
    if outcome == "full":
        message = "as many items, tokens or bytes wait here as may; try again when some have run"
        raise Unavailable(message, code="queue_full")


class Admission:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._memory_read: tuple[float, dict[str, Any]] = (-MEMORY_AGE, {})

    def check_memory(self, tokens: int, surplus: int = 0) -> None:
        """Refuse a job while the server can still hold what was accepted before: results that wait
        to come included.

        `tokens` are what the new job may need, `surplus` what its results may take above
        `BYTES_A_TOKEN`. Only a server with a `maxmemory` can be full.

        Raises:
            Unavailable: with this job, more than 75 % of the server's memory would be used.
        """
        memory = self._memory()
        limit = memory["maxmemory"] * MEMORY_SHARE
        if not limit:
            return
        with redis_errors():
            queued = [
                int(each or 0) for each in self._client.hmget(keys.queued(), "tokens", "surplus")
            ]
        expected = (
            memory["used_memory"] + (queued[0] + tokens) * BYTES_A_TOKEN + queued[1] + surplus
        )
        if expected > limit:
            raise Unavailable(
                f"the server's memory is spoken for: with this job {expected >> 20} of "
                f"{int(limit) >> 20} MiB; "
                "try again when jobs have finished or were deleted",
                code="server_full",
            )

    def check_waiting(self, tenant: str, more: tuple[int, int, int], limits: Limits) -> None:
        """Refuse early what would be refused at its end. `more` are items, tokens and bytes.

        Raises:
            TooMany, StorageFull, Unavailable: a limit of what waits or is kept would be passed.
        """
        with redis_errors():
            pipe = self._client.pipeline(transaction=False)
            for line in (keys.queued(tenant), keys.queued()):
                pipe.hmget(line, "items", "tokens", "bytes")
            own, total = pipe.execute()
        for waiting, most, outcome in (
            (own, (limits.tenant_items, limits.tenant_tokens, limits.tenant_bytes), "tenant_full"),
            (total, (limits.total_items, limits.total_tokens, limits.total_bytes), "full"),
        ):
            for there, amount, limit in zip(waiting, more, most, strict=True):
                if limit and int(there or 0) + amount > limit:
                    refuse_overfull(outcome, limits)
        self.check_stored(tenant, more[2], limits.stored_bytes)

    def queued(self, tenant: str) -> tuple[int, int]:
        """Items of a tenant that wait, and the tokens that these may need."""
        with redis_errors():
            found = self._client.hmget(keys.queued(tenant), "items", "tokens")
        items, tokens = (max(0, int(each or 0)) for each in found)
        return items, tokens

    def stored(self, tenant: str) -> int:
        """Bytes that a tenant keeps: of jobs with their results, files, presets and studies, as
        stored."""
        with redis_errors():
            found = self._client.hmget(keys.stored(tenant), "jobs", "files", "presets", "studies")
        return max(0, sum(int(each or 0) for each in found))

    def check_stored(self, tenant: str, more: int, most: int) -> None:
        """Refuse early what would be refused at its end.

        Raises:
            StorageFull: the tenant would keep more than `most` bytes.
        """
        if most and self.stored(tenant) + more > most:
            raise storage_full(most)

    def _memory(self) -> dict[str, Any]:
        """What the server says of its memory, a second old at most: asking costs more than all else
        of a small job."""
        read_at, memory = self._memory_read
        if time.monotonic() - read_at > MEMORY_AGE:
            with redis_errors():
                memory = self._client.info("memory")
            self._memory_read = (time.monotonic(), memory)
        return memory
