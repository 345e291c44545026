"""The JobStore: the only truth about jobs. Knows Redis; knows nothing of Celery, HTTP or models.

Keys are in `common/store/keys.py`, moves in `common/store/lua/`. The web tier submits and changes
jobs here; workers take and hand in items through `common/store/incarnation.py`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from typing import Any

from common.errors import Conflict, NotFound, Unavailable
from common.store import keys
from common.store.admission import NO_LIMITS, Limits, refuse_overfull
from common.store.connection import redis_errors
from common.store.job import Job, parse_job
from common.store.job_lists import JobLists
from common.store.job_prep import MOST_COLUMNS
from common.store.outbox import StoredEvent, parse_event
from common.store.records import readable, reading
from common.store.scripts import Call
from common.store.submitted import (
    NO_KEY,
    Appended,
    Attached,
    KeyUse,
    MadeWith,
    appended,
    parse_made,
    refuse_too_many,
)
from common.store.upload_stage import Stage
from common.types import JobState, JsonObject


def new_job_id() -> str:
    """`job_0…`: the digit is the shard, for the day that pools of models have a Redis each."""
    return f"job_0{secrets.token_hex(10)}"


def attach_call(
    stage: Stage,
    fields: dict[str, Any],
    job_id: str,
    idempotency: KeyUse,
    deadline: int,
    limits: Limits,
) -> Call:
    """`JobStore.attach` as a call of its script."""
    sizes = {"bytes": stage.bytes + stage.prep_bytes, "indexed": 1} | (
        {} if stage.n_min is None else {"n_min": stage.n_min}
    )
    flat = [part for pair in {**fields, **sizes}.items() for part in pair]
    named = {
        "id": job_id,
        "stage": stage.id,
        **idempotency._asdict(),
        "deadline": deadline,
        **asdict(limits),
        **stage.sent(),
    }
    return Call("attach", tuple(flat), named)


class JobStore(JobLists):
    """Submits, changes and reads jobs. One per process; safe for threads."""

    # Moves

    def stage(self, n: int = 1) -> Stage:
        """Of items that have `n` continuations each where they do not say."""
        return Stage(self.client, n)

    def attach(
        self,
        stage: Stage,
        fields: dict[str, Any],
        *,
        job_id: str,
        idempotency: tuple[str, str] | KeyUse = NO_KEY,
        deadline: int = 0,
        limits: Limits = NO_LIMITS,
    ) -> Attached:
        """Make what was staged a job. Durable when it returns.

        `fields` are the job hash's tenant, model, digest, total, cost, n_max, priority, hooks,
        retention (ms) and spec (JSON), and where wanted interactive, surplus, token_budget,
        error_rate, retry_of, rerun_of and sweep; `deadline` is in ms, 0 for none; `limits` are
        items, tokens and bytes that the tenant may have waiting, then those that all may have, and
        the bytes that the tenant may keep, 0 for none.
        """
        call = attach_call(stage, fields, job_id, KeyUse(*idempotency), deadline, limits)
        with redis_errors():
            outcome, found, rings = self.scripts.attach(*call.rest, **call.named)
        return Attached(outcome.decode(), found.decode(), rings)

    def copy_items(self, job_id: str, stage: Stage, items: int) -> bool:
        """Stage the items that a job was made of, with all that is kept beside them. False where
        they cannot be had any more, or are not so many."""
        with redis_errors():
            return bool(self.scripts.copy_items(id=job_id, stage=stage.id, items=items))

    def append(
        self,
        job_id: str,
        stage: Stage,
        *,
        tokens: int,
        n_max: int,
        surplus: int = 0,
        limits: Limits = NO_LIMITS,
        most_items: int,
        streams: tuple[int, int] = (0, 0),
        evaluate: str = "",
        idempotency: tuple[str, str] | KeyUse = NO_KEY,
    ) -> Appended:
        """Add what was staged to a job that is not over, whole or not at all; durable at once.

        `tokens` is what it is expected to need, `surplus` what its results take above
        `BYTES_A_TOKEN`; `most_items` is what the job may have in all; `streams` are continuations
        to be streamed and how many of those it may have; `evaluate` is what begins at the job's
        end, where these items change it; the rest is as in `attach`.

        Raises:
            Conflict: the job is over or was cancelled.
            TooMany, StorageFull, Unavailable: a limit of what waits or is kept would be passed.
            TooLarge, InvalidRequest: the job would have more items, streams or columns than it may.
        """
        with redis_errors():
            outcome, rings, *more = self.scripts.append(
                id=job_id,
                stage=stage.id,
                items=stage.total,
                tokens=tokens,
                n_max=n_max,
                bytes=stage.bytes,
                **asdict(limits),
                most_items=most_items,
                streamed=streams[0],
                most_streamed=streams[1],
                most_columns=MOST_COLUMNS,
                **KeyUse(*idempotency).of("idem", "fingerprint", "earlier"),
                surplus=surplus,
                evaluate=evaluate,
                **stage.sent(),
            )
        told = outcome.decode()
        if told in ("gone", "terminal", "lost", "waiting"):
            self._outcome(job_id, outcome, rings)
        refuse_too_many(told, most_items, streams[1])
        refuse_overfull(told, limits)
        return appended(told, rings, more)

    def edit(self, job_id: str, field: str, value: float) -> int:
        """Change a live job: `paused` (0 or 1), `priority`, `deadline` (ms), `token_budget` or
        `error_rate` (of these three 0 is none). Answers rings.

        Raises:
            Conflict: the job is over.
        """
        with redis_errors():
            outcome, rings = self.scripts.edit(id=job_id, field=field, value=value)
        return self._outcome(job_id, outcome, rings)

    def _outcome(self, job_id: str, outcome: bytes, rings: int) -> int:
        if outcome == b"gone":
            raise NotFound(f"no job {job_id}")
        if outcome == b"terminal":
            raise Conflict(
                f"job {job_id} is over or was cancelled and cannot be changed", code="job_over"
            )
        if outcome == b"waiting":
            raise Conflict(
                f"job {job_id} waits for other jobs and has no items yet; add some when it has",
                code="job_waiting",
            )
        if outcome == b"lost":
            raise Unavailable("the upload took too long and was dropped; send it again")
        return int(rings)

    def cancel(self, job_id: str) -> tuple[JobState, bool]:
        """Ask a job to stop. Answers its state (a running one ends within a heartbeat) and whether
        webhooks are due."""
        with redis_errors():
            answer = self.scripts.cancel(id=job_id)
        if not answer:
            raise NotFound(f"no job {job_id}")
        return JobState(answer[0].decode()), bool(answer[1])

    def describe(self, job_id: str, metadata: JsonObject) -> None:
        """Replace what the tenant noted of a job, which may be over. Durable when it returns."""
        with redis_errors():
            if not self.scripts.describe(id=job_id, metadata=json.dumps(metadata)):
                raise NotFound(f"no job {job_id}")

    def delete(self, job_id: str) -> None:
        """Remove a job. That there is none is no error: an earlier try, whose answer was lost, may
        have removed it."""
        with redis_errors():
            self.scripts.delete(id=job_id)

    # Reads

    def now(self) -> int:
        """The server's clock, in ms: the one that deadlines and leases go by."""
        with redis_errors():
            seconds, micros = self.client.time()
        return seconds * 1000 + micros // 1000

    def job(self, job_id: str, tenant: str | None = None) -> Job:
        """One job; `tenant=None` is for parts that act for no tenant.

        Raises:
            NotFound: no such job, or it is another tenant's.
            Unreadable: its record is damaged.
        """
        with redis_errors():
            raw = self.client.hgetall(keys.job(job_id))
        if not raw or (tenant is not None and raw.get(b"tenant") != tenant.encode()):
            raise NotFound(f"no job {job_id}")
        with reading(job_id):
            return parse_job(job_id, raw)

    def has_job(self, job_id: str) -> bool:
        """Whether there is such a job, of any tenant; its record may be unreadable."""
        with redis_errors():
            return bool(self.client.exists(keys.job(job_id)))

    def made_with(self, tenant: str, key: str) -> MadeWith | None:
        """The job that an idempotency key made, if it is there and a part of this schema noted
        it."""
        with redis_errors():
            found = parse_made(self.client.get(keys.idempotency(tenant, key)))
        return found if found and self.has_job(found.made) else None

    def check_owner(self, job_id: str, tenant: str) -> None:
        """`NotFound` for another tenant's job; asks nothing else of its record, which may be
        unreadable."""
        with redis_errors():
            found = self.client.hget(keys.job(job_id), "tenant")
        if found != tenant.encode():
            raise NotFound(f"no job {job_id}")

    def hooks(self, job_id: str) -> list[StoredEvent]:
        """The job's webhook events with every delivery attempt."""
        with redis_errors():
            events = [
                event.decode() for event in self.client.lrange(keys.job(job_id, "hooks"), 0, -1)
            ]
            pipe = self.client.pipeline(transaction=False)
            for event in events:
                pipe.hgetall(keys.hook(event))
            hashes = pipe.execute()
        found = [(event, raw) for event, raw in zip(events, hashes, strict=True) if raw]
        return list(readable(found, lambda pair: parse_event(*pair), lambda pair: pair[0]))
