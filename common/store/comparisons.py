"""Comparisons of jobs: asked for by the web tier, computed by the evaluator, kept for a day.

A comparison is that of certain evaluations, from which its id follows: asked for again it is the
same. It goes with any of its jobs. Knows Redis; nothing of statistics or HTTP.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import redis

from common.errors import NotFound, TooMany
from common.store import keys
from common.store.connection import redis_errors
from common.store.packing import pack, unpack
from common.store.records import reading
from common.store.scripts import Scripts
from common.types import JsonObject

LEASE = 15.0  # seconds; renewed with everything that is kept
MOST_TRIES = 5
MOST_WAITING = 20  # of a tenant
MOST_KEPT = 200  # of a tenant
BLOCK = 4096  # items of the baseline whose rows are kept together

Status = Literal["queued", "done", "failed"]


@dataclass(frozen=True)
class Asked:
    """What is compared: jobs, the baseline first, and the evaluation of each."""

    jobs: tuple[str, ...]
    evaluations: tuple[str, ...]

    @property
    def id(self) -> str:
        """The comparison's."""
        named = json.dumps([self.jobs, self.evaluations])
        return f"cmp_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


@dataclass(frozen=True)
class Comparison:
    """`queued` until the evaluator ends it; `failed` where evaluators died of it. `result` is what
    they computed, None until it is done."""

    id: str
    status: Status
    result: JsonObject | None


@dataclass(frozen=True)
class Claimed:
    """A comparison that this process computes; `token` fences what it keeps."""

    id: str
    tenant: str
    asked: Asked
    token: str


class Comparisons:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def create(self, tenant: str, asked: Asked) -> bool:
        """Queue a comparison of the tenant's jobs, if it is not there. Whether it was made now: the
        evaluator is to be rung then.

        Raises:
            NotFound: one of the jobs is gone.
            TooMany: too many comparisons of the tenant wait.
        """
        with redis_errors():
            status, made = self._scripts.create_comparison(
                *asked.jobs,
                id=asked.id,
                tenant=tenant,
                asked=json.dumps(asdict(asked)),
                most_waiting=MOST_WAITING,
                most_kept=MOST_KEPT,
            )
        if status == b"gone":
            raise NotFound("one of the jobs was deleted")
        if status == b"full":
            raise TooMany(
                f"{MOST_WAITING} of your comparisons wait to be computed; try again when they are",
                code="too_many_comparisons",
            )
        return bool(made)

    def get(self, comparison_id: str) -> Comparison:
        """Whose it is follows from its jobs: the caller has checked that they are the tenant's.

        Raises:
            NotFound: there is none, or no more.
            Unreadable: it is damaged.
        """
        with redis_errors():
            status, result = self._client.hmget(keys.comparison(comparison_id), "status", "result")
        if status is None:
            raise NotFound(f"no comparison {comparison_id}")
        with reading(comparison_id):
            found: Status = status.decode()
            return Comparison(comparison_id, found, unpack(result) if result else None)

    def blocks(self, comparison_id: str, numbers: Sequence[int]) -> list[bytes | None]:
        """Blocks of rows, for `comparison_rows.parse_block`; None for those without rows."""
        if not numbers:
            return []
        with redis_errors():
            return list(
                self._client.hmget(
                    keys.comparison(comparison_id), [f"rows:{number}" for number in numbers]
                )
            )

    def claim(self) -> Claimed | None:
        """The comparison to be computed next, None where there is none; the claim lasts `LEASE`."""
        token = secrets.token_hex(8)
        with redis_errors():
            found = self._scripts.claim_comparison(
                ms=int(LEASE * 1000), claim=token, most_tries=MOST_TRIES
            )
        if not found:
            return None
        comparison_id, tenant, asked = (part.decode() for part in found)
        given = json.loads(asked)
        return Claimed(
            comparison_id,
            tenant,
            Asked(tuple(given["jobs"]), tuple(given["evaluations"])),
            token,
        )

    def hold(self, claimed: Claimed) -> bool:
        """Renew the claim; False where it is lost, or the comparison is gone."""
        return self._keep(claimed, "", {})

    def give_back(self, claimed: Claimed) -> bool:
        """Another process may claim it at once; this claim does not count."""
        return self._keep(claimed, "queued", {})

    def keep_rows(self, claimed: Claimed, blocks: Mapping[int, bytes]) -> bool:
        """Keep blocks of rows by their numbers, and renew the claim."""
        return self._keep(claimed, "", {f"rows:{number}": blob for number, blob in blocks.items()})

    def end(self, claimed: Claimed, result: JsonObject, blocks: int) -> bool:
        """All was computed, and so many blocks of rows were kept. False also where some of these
        are gone: the server may have forgotten what it acknowledged."""
        return self._keep(claimed, "done", {"result": pack(result)}, blocks)

    def fail(self, claimed: Claimed) -> bool:
        """It cannot be computed. It is forgotten soon, so that asking again tries again."""
        return self._keep(claimed, "failed", {})

    def _keep(
        self, claimed: Claimed, status: str, fields: Mapping[str, bytes], blocks: int = 0
    ) -> bool:
        flat = [part for pair in fields.items() for part in pair]
        with redis_errors():
            return bool(
                self._scripts.keep_comparison(
                    *flat,
                    id=claimed.id,
                    claim=claimed.token,
                    ms=int(LEASE * 1000),
                    status=status,
                    blocks=blocks,
                )
            )
