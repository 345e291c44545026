"""Batches in OpenAI's sense: a file whose lines are validated after it was accepted, and then are
one job's items.

A batch's record says what there is before its job and beside it, and which web process validates
it. Everything else of a batch is its job's, whose id follows from the batch's. Knows Redis; nothing
of lines or HTTP.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import redis

from common.errors import NotFound, TooMany
from common.store import keys
from common.store.connection import redis_errors
from common.store.places import Place, pages, place_of
from common.store.records import as_text, readable, reading
from common.store.scripts import Scripts

End = Literal["queued", "failed", "cancelled", "expired"]  # what a validation came to


def new_batch_id() -> str:
    """Never used before: an id that follows from an idempotency key would come again once the batch
    is deleted, and workers would take the new job for the old one."""
    return f"batch_{secrets.token_hex(10)}"


def job_of(batch_id: str) -> str:
    """The id of the job that a batch becomes; it follows from the batch's, so that two validators
    cannot make two jobs."""
    return f"job_0{batch_id.removeprefix('batch_')}"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it is stored. All times are milliseconds of the Redis server's clock; `create`
    stores the fields that name no other method."""

    id: str
    tenant: str  # The tenant that made the batch.
    file: str  # The id of the file whose lines are the requests.
    endpoint: str  # The path that all lines are requests for.
    window: str  # The completion window as it was written, like 24h.
    created_at: int  # When `create` stored the batch.
    expires_at: int  # When the completion window ends.
    metadata: dict[str, Any]  # What the tenant wrote to it.
    webhook: dict[str, Any] | None  # Where events are delivered: url and, perhaps, secret.
    output_ttl: int | None  # How long its files are kept after its end, in ms; None: as the job.
    cancelling_at: int | None  # When `cancel` was called first.
    failed_at: int | None  # When `end` found that the file cannot become a job.
    cancelled_at: int | None  # When `end` stopped a validation, because of `cancel`.
    expired_at: int | None  # When `end` found that the window was over before there was a job.
    errors: list[Any] | None  # What was wrong with the lines, of a batch that failed.
    output_gone: bool  # The output file was deleted; `note` sets it, as all fields below.
    error_gone: bool  # The error file was deleted.
    sized: int  # Items, from the first on, whose lines were measured.
    sized_output: int  # Bytes of those lines in the output file.
    sized_error: int  # Bytes of those lines in the error file.
    output_bytes: int | None  # Bytes of the whole output file; earlier versions kept it so.
    error_bytes: int | None  # Bytes of the whole error file, likewise.


def parse_batch(batch_id: str, answer: Any) -> Batch:
    """The batch of a hash as the server answered it.

    Raises:
        KeyError, ValueError: the record is damaged, or the key holds something else.
    """
    raw = as_text(answer)

    def number(name: str) -> int | None:
        return int(raw[name]) if name in raw else None

    return Batch(
        id=batch_id,
        tenant=raw["tenant"],
        file=raw["file"],
        endpoint=raw["endpoint"],
        window=raw["window"],
        created_at=int(raw["created_at"]),
        expires_at=int(raw["expires_at"]),
        metadata=json.loads(raw["metadata"]),
        webhook=json.loads(raw["webhook"]) if "webhook" in raw else None,
        output_ttl=number("output_ttl"),
        cancelling_at=number("cancelling_at"),
        failed_at=number("failed_at"),
        cancelled_at=number("cancelled_at"),
        expired_at=number("expired_at"),
        errors=json.loads(raw["errors"]) if "errors" in raw else None,
        output_gone="output_gone" in raw,
        error_gone="error_gone" in raw,
        sized=int(raw.get("sized", 0)),
        sized_output=int(raw.get("sized_output", 0)),
        sized_error=int(raw.get("sized_error", 0)),
        output_bytes=number("output_bytes"),
        error_bytes=number("error_bytes"),
    )


@dataclass(frozen=True)
class Claim:
    """A batch that this process validates; `tries` counts claims, this one included. `token` fences
    what it does."""

    batch_id: str
    token: str
    tries: int


class Batches:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def create(
        self,
        batch_id: str,
        tenant: str,
        fields: dict[str, Any],
        idempotency: tuple[str, str] = ("", ""),
        most: int = 0,
    ) -> tuple[Literal["new", "same", "conflict"], str]:
        """Keep a batch, to be validated now. Durable when it returns.

        `idempotency` is (key, fingerprint of the content). Answers whether the key had made a batch
        before, of the same or of other content, and the id of the batch, which may be gone by now
        where it is the `same`.

        Raises:
            TooMany: `most` batches of the tenant (0: no limit) wait for their validation already.
        """
        flat = [part for pair in fields.items() for part in pair]
        key, fingerprint = idempotency
        with redis_errors():
            outcome, found = self._scripts.create_batch(
                *flat, id=batch_id, tenant=tenant, idem=key, fingerprint=fingerprint, most=most
            )
        if outcome == b"full":
            message = (
                f"{most:,} batches of yours wait for their validation, as many as may; try "
                "again when some began"
            )
            raise TooMany(message, code="too_many_batches")
        return outcome.decode(), found.decode()

    def get(self, batch_id: str, tenant: str | None = None) -> Batch:
        """Another tenant's batch is not found; `tenant=None` is for the parts themselves."""
        with redis_errors():
            raw = self._client.hgetall(keys.batch(batch_id))
        if not raw or (tenant is not None and raw.get(b"tenant") != tenant.encode()):
            raise NotFound(f"no batch {batch_id[:80]!r}")
        with reading(batch_id):
            return parse_batch(batch_id, raw)

    def place(self, batch_id: str, tenant: str) -> Place:
        """Where a batch is among its tenant's, or was until a day ago at most; else `NotFound`."""
        return place_of(self._client, keys.tenant_batches(tenant), tenant, batch_id)

    def walk(
        self,
        tenant: str,
        *,
        newest_first: bool = True,
        behind: Place | None = None,
        page: int = 100,
    ) -> Iterator[Batch]:
        """A tenant's batches in order of their creation, from behind a place on; read a page at a
        time."""
        line = keys.tenant_batches(tenant)
        for ids in pages(self._client, line, newest_first=newest_first, behind=behind, page=page):
            with redis_errors():
                pipe = self._client.pipeline(transaction=False)
                for batch_id in ids:
                    pipe.hgetall(keys.batch(batch_id))
                hashes = pipe.execute(raise_on_error=False)
            found = [(batch_id, raw) for batch_id, raw in zip(ids, hashes, strict=True) if raw]
            yield from readable(found, lambda pair: parse_batch(*pair), lambda pair: pair[0])

    def note(self, batch_id: str, **fields: int) -> None:
        """Write down what was found out about a batch, or done to its files. One that is gone
        meanwhile stays so."""
        flat = [part for pair in fields.items() for part in pair]
        with redis_errors():
            self._scripts.note_batch(*flat, id=batch_id)

    def claim_sizing(self, lease: float) -> tuple[str, str] | None:
        """The batch whose files are to be measured next, and its tenant, whose turn it is. No other
        process gets it for `lease` seconds."""
        with redis_errors():
            found = self._scripts.claim_sizing(ms=int(lease * 1000))
        return (found[0].decode(), found[1].decode()) if found else None

    def end_sizing(self, batch_id: str, tenant: str) -> None:
        """Its files are whole and measured."""
        with redis_errors():
            self._scripts.end_sizing(id=batch_id, tenant=tenant)

    def cancel(self, batch_id: str) -> None:
        """Note the wish. Whoever validates the batch ends at it; its job, if any, is the caller's
        to cancel."""
        with redis_errors():
            if not self._scripts.cancel_batch(id=batch_id):
                raise NotFound(f"no batch {batch_id[:80]!r}")

    # Validation

    def claim(self, lease: float) -> Claim | None:
        """Take a batch that waits for its validation; no other process gets it for `lease` seconds.
        Tenants have one validation at a time, in turn."""
        token = secrets.token_hex(8)
        with redis_errors():
            answer = self._scripts.claim_batch(lease=int(lease * 1000), claim=token)
        return Claim(answer[0].decode(), token, int(answer[1])) if answer else None

    def hold(self, claim: Claim, lease: float) -> Literal["held", "cancel", "lost"]:
        """Go on for `lease` seconds more; `cancel` when the batch is to be, `lost` when it is
        another's by now."""
        with redis_errors():
            return self._scripts.hold_batch(
                id=claim.batch_id, claim=claim.token, ms=int(lease * 1000), free=0
            ).decode()

    def postpone(self, claim: Claim, seconds: float) -> None:
        """Give the batch back to be claimed in `seconds`; this try does not count."""
        with redis_errors():
            self._scripts.hold_batch(
                id=claim.batch_id, claim=claim.token, ms=int(seconds * 1000), free=1
            )

    def end(self, claim: Claim, outcome: End, *, errors: str = "", retention: int = 0) -> bool:
        """The validation is over; without a job, the batch is kept for `retention` ms. Answers if
        webhooks are due."""
        with redis_errors():
            return bool(
                self._scripts.end_batch(
                    id=claim.batch_id,
                    claim=claim.token,
                    outcome=outcome,
                    errors=errors,
                    retention=retention,
                )
            )
