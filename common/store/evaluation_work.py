"""Evaluations as an evaluator sees them: claimed under a lease, scored a chunk at a time, ended.

Tenants take turns. Knows Redis; nothing of what metrics mean.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis

from common.errors import ErrorDict
from common.store import keys
from common.store.connection import redis_errors
from common.store.evaluations import Asked, parse_asked
from common.store.records import reading
from common.store.scripts import Scripts
from common.types import JsonObject

LEASE = 15.0  # seconds
MOST_CLAIMS = 5  # without a new chunk; at the next the evaluation fails as `evaluator_died`


@dataclass(frozen=True)
class Claimed:
    """An evaluation that this process works at. `token` fences all that it writes."""

    id: str
    job: str
    tenant: str
    asked: Asked
    done: int  # items that were scored before
    total: int
    referenced: bool  # whether references were given with it, in place of the items' own
    tokenizer: str | None  # BLEU's, once one was chosen for it
    token: str


@dataclass(frozen=True)
class Ended:
    """What came of an evaluation: a summary, or an error."""

    summary: JsonObject
    signatures: dict[str, str]
    gate: JsonObject | None = None
    error: ErrorDict | None = None


class Unfinished(NamedTuple):
    """Evaluations that are not over."""

    waiting: int
    running: int  # An evaluator has them, or will in a few seconds.


class EvaluationWork:
    """One per process; safe for threads. `lease` is in seconds."""

    def __init__(self, client: redis.Redis, lease: float = LEASE):
        self._client = client
        self._scripts = Scripts(client)
        self.lease = lease

    def claim(self) -> Claimed | None:
        """The next evaluation of the tenant whose turn it is; no other evaluator gets it while the
        lease lasts.

        Raises:
            Unreadable: its record is damaged; the claim ends with the lease.
        """
        token = secrets.token_hex(8)
        with redis_errors():
            found = self._scripts.claim_evaluation(lease=self._ms(), claim=token, most=MOST_CLAIMS)
        if not found:
            return None
        evaluation_id, job, tenant, asked, done, total, referenced, tokenizer = found
        with reading(evaluation_id.decode()):
            return Claimed(
                id=evaluation_id.decode(),
                job=job.decode(),
                tenant=tenant.decode(),
                asked=parse_asked(asked),
                done=int(done),
                total=int(total),
                referenced=referenced is not None,
                tokenizer=tokenizer.decode() if tokenizer else None,
                token=token,
            )

    def hold(self, claimed: Claimed, **noted: str) -> bool:
        """Renew the lease, and note fields in the record. False where the evaluation is another's
        by now, over, or removed."""
        return self._hold(claimed, self._ms(), free=False, noted=noted)

    def give_back(self, claimed: Claimed, seconds: float = 0.0) -> bool:
        """Others may claim it, in so many seconds; this claim does not count."""
        return self._hold(claimed, int(seconds * 1000), free=True, noted={})

    def _hold(self, claimed: Claimed, ms: int, *, free: bool, noted: Mapping[str, str]) -> bool:
        flat = [part for pair in noted.items() for part in pair]
        with redis_errors():
            return bool(
                self._scripts.hold_evaluation(
                    *flat, id=claimed.id, claim=claimed.token, ms=ms, free=int(free)
                )
            )

    def keep(self, claimed: Claimed, start: int, blob: bytes, done: int) -> bool:
        """Store the scores of items [start, done), packed by `score_chunk`, and renew the lease.
        False as in `hold`; then nothing is stored."""
        with redis_errors():
            return bool(
                self._scripts.keep_scores(
                    id=claimed.id,
                    claim=claimed.token,
                    start=start,
                    done=done,
                    ms=self._ms(),
                    blob=blob,
                )
            )

    def end(self, claimed: Claimed, ended: Ended) -> tuple[bool, bool]:
        """The evaluation is over. Durable when it returns. Answers whether it was this claim's
        still, and whether the webhook worker should be rung."""
        fields = {
            "summary": json.dumps(ended.summary, ensure_ascii=False, allow_nan=False),
            "signatures": json.dumps(ended.signatures),
        }
        if ended.error:
            fields["error"] = json.dumps(ended.error, ensure_ascii=False)
        flat = [part for pair in fields.items() for part in pair]
        with redis_errors():
            held, hooked = self._scripts.end_evaluation(
                *flat,
                id=claimed.id,
                claim=claimed.token,
                status="failed" if ended.error else "done",
                gate=json.dumps(ended.gate),
            )
        return bool(held), bool(hooked)

    def longest_wait(self) -> float:
        """For how many seconds there has been an evaluation that no evaluator took; 0 where none
        waits."""
        now, lines = self._lines(lambda pipe, line: pipe.zrange(line, 0, 0, withscores=True))
        return max([0.0, *(now - score / 1000 for line in lines for _, score in line)])

    def unfinished(self) -> Unfinished:
        """How many evaluations wait, and how many evaluators are at work on."""
        now, every = self._lines(lambda pipe, line: pipe.zcard(line))
        _, due = self._lines(lambda pipe, line: pipe.zcount(line, "-inf", int(now * 1000)))
        waiting = min(sum(due), sum(every))  # they were counted one after the other
        return Unfinished(waiting, sum(every) - waiting)

    def _lines(self, ask: Callable[[Any, str], object]) -> tuple[float, list[Any]]:
        """The server's time in seconds, and what it answers about each tenant's line of
        evaluations that are not over, by when they are due."""
        with redis_errors():
            seconds, micros = self._client.time()
            pipe = self._client.pipeline(transaction=False)
            for tenant in self._client.zrange(keys.EVALUATIONS_TURNS, 0, -1):
                ask(pipe, keys.evaluations_due(tenant.decode()))
            return seconds + micros / 1e6, pipe.execute()

    def _ms(self) -> int:
        return int(self.lease * 1000)
