"""Sweeps: jobs of the same items that differ in their decoding parameters, made together or not at
all.

A sweep's record says what was varied; all else is told by its jobs, and it goes with the last of
them. Knows Redis; nothing of what parameters mean.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis

from common.errors import NotFound, Unavailable
from common.store import keys
from common.store.admission import Limits, refuse_overfull
from common.store.connection import redis_errors
from common.store.jobs import attach_call
from common.store.places import pages, place_of
from common.store.records import as_text, readable, reading
from common.store.scripts import Call, Scripts
from common.store.submitted import NO_KEY, KeyUse, MadeWith, parse_made
from common.store.upload_stage import Stage
from common.types import ItemState, JobState

CHUNKS_COPIED = 64  # in one script: some milliseconds of the server's time
PAGE = 20  # sweeps read at a time
COUNTS = ("total", *(state.value for state in ItemState))
FLAGS = ("paused", "cancel_requested")
READ = ("status", *FLAGS, "prompt_tokens", "completion_tokens", *COUNTS)  # of each job


def new_sweep_id() -> str:
    """As ids of jobs, which are made of it: the digit is the shard."""
    return f"sweep_0{secrets.token_hex(10)}"


def job_of(sweep_id: str, place: int) -> str:
    """The job of a sweep's combination with this number, from 0."""
    return f"job_{sweep_id.removeprefix('sweep_')}_{place}"


@dataclass(frozen=True)
class NewJob:
    """A job of a sweep that is to be: `fields` as `JobStore.attach` takes them; `tokens` is what
    it is expected to need."""

    stage: Stage
    fields: dict[str, Any]
    tokens: int


@dataclass(frozen=True)
class Begun:
    """What came of a submit: `outcome` is new, same (the idempotency key knew it) or conflict.
    `rings` is how many workers want to be rung."""

    outcome: str
    sweep_id: str
    rings: int = 0


@dataclass(frozen=True)
class SweepJob:
    """How the job of a combination stands; `place` is the number of that, from 0."""

    id: str
    place: int
    status: JobState
    paused: bool
    cancel_requested: bool
    counts: Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class StoredSweep:
    """A sweep with those of its jobs that there still are, in order. `varied` are the values of
    each parameter, `items` how many each job has, `created_at` ms of the server's clock."""

    id: str
    tenant: str
    model: str
    created_at: int
    items: int
    varied: Mapping[str, Sequence[Any]]
    metadata: Mapping[str, Any]
    jobs: tuple[SweepJob, ...]


class Sweeps:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def copy_stage(self, stage: Stage, into: Stage) -> None:
        """Stage the items of a closed stage again, in parts, so that others are served between.

        Raises:
            Unavailable: the time of what was staged ran out.
        """
        into.copy_of(stage)
        if stage.whole:
            return
        with redis_errors():
            chunks = self._client.zcard(keys.stage(stage.id, "starts"))
        for first in range(0, max(chunks, 1), CHUNKS_COPIED):
            with redis_errors():
                there = self._scripts.copy_stage(
                    stage=stage.id, into=into.id, first=first, count=CHUNKS_COPIED
                )
            if not there:
                raise _lost()

    def create(
        self,
        sweep_id: str,
        tenant: str,
        fields: Mapping[str, Any],
        jobs: Sequence[NewJob],
        *,
        idempotency: KeyUse = NO_KEY,
        deadline: int = 0,
        limits: Limits,
    ) -> Begun:
        """Make all the jobs, or none. Durable when it returns.

        `fields` are the record's model, items, varied and metadata, the last two as JSON; the rest
        is as in `JobStore.attach`, with limits for all jobs together.

        Raises:
            TooMany, StorageFull, Unavailable: a limit would be passed, or what was staged is gone.
        """
        sizes = {
            "items": sum(job.stage.total for job in jobs),
            "tokens": sum(job.tokens for job in jobs),
            "bytes": sum(job.stage.bytes + job.stage.prep_bytes for job in jobs),
        }
        ids = [job_of(sweep_id, place) for place in range(len(jobs))]
        begin = Call(
            "begin_sweep",
            (*_pairs(ids, jobs), *(part for pair in fields.items() for part in pair)),
            {
                "id": sweep_id,
                "tenant": tenant,
                "jobs": len(jobs),
                **idempotency.of("idem", "fingerprint", "named"),
                **sizes,
                **asdict(limits),
            },
        )
        attaches = (
            # The limits were asked for all of them.
            attach_call(job.stage, job.fields, job_id, NO_KEY, deadline, Limits())
            for job_id, job in zip(ids, jobs, strict=True)
        )
        with redis_errors():
            (told, made), *attached = self._scripts.together([begin, *attaches])
        outcome = told.decode()
        if outcome == "lost":
            raise _lost()
        refuse_overfull(outcome, limits)
        return Begun(outcome, made.decode(), sum(rings for _, _, rings in attached))

    def made_with(self, tenant: str, key: str) -> MadeWith | None:
        """The sweep that an idempotency key has made, if it is there."""
        with redis_errors():
            found = parse_made(self._client.get(keys.sweep_key(tenant, key)))
            return found if found and self._client.exists(keys.sweep(found.made)) else None

    def get(self, sweep_id: str, tenant: str) -> StoredSweep:
        """`NotFound` for another tenant's, and for one whose last job is gone."""
        with redis_errors():
            raw = self._client.hgetall(keys.sweep(sweep_id))
        if raw.get(b"tenant") != tenant.encode():
            raise NotFound(f"no sweep {sweep_id}")
        with reading(sweep_id):
            return self._sweep(sweep_id, raw)

    def walk(self, tenant: str, after: str | None = None) -> Iterator[StoredSweep]:
        """A tenant's sweeps, newest first, from behind `after`. One whose record cannot be read is
        left out, with a line in the log."""
        line = keys.tenant_sweeps(tenant)
        behind = place_of(self._client, line, tenant, after) if after is not None else None
        for ids in pages(self._client, line, newest_first=True, behind=behind, page=PAGE):
            with redis_errors():
                pipe = self._client.pipeline(transaction=False)
                for sweep_id in ids:
                    pipe.hgetall(keys.sweep(sweep_id))
                hashes = pipe.execute(raise_on_error=False)
            found = [pair for pair in zip(ids, hashes, strict=True) if pair[1]]
            yield from readable(found, lambda pair: self._sweep(*pair), lambda pair: pair[0])

    def _sweep(self, sweep_id: str, raw: Any) -> StoredSweep:
        about = as_text(raw)
        return StoredSweep(
            id=sweep_id,
            tenant=about["tenant"],
            model=about["model"],
            created_at=int(about["created_at"]),
            items=int(about["items"]),
            varied=json.loads(about["varied"]),
            metadata=json.loads(about["metadata"]),
            jobs=tuple(self._jobs(sweep_id)),
        )

    def _jobs(self, sweep_id: str) -> Iterator[SweepJob]:
        with redis_errors():
            line = keys.sweep(sweep_id, "jobs")
            places = [
                (job_id.decode(), int(place))
                for job_id, place in self._client.zrange(line, 0, -1, withscores=True)
            ]
            pipe = self._client.pipeline(transaction=False)
            for job_id, _ in places:
                pipe.hmget(keys.job(job_id), *READ)
            rows = pipe.execute(raise_on_error=False)
        found = [each for each in zip(places, rows, strict=True) if each[1] != [None] * len(READ)]
        return readable(found, lambda each: _job(*each[0], each[1]), lambda each: each[0][0])


def _job(job_id: str, place: int, row: Sequence[bytes]) -> SweepJob:
    status, paused, cancel_requested, *numbers = row
    prompt_tokens, completion_tokens, *counts = map(int, numbers)
    return SweepJob(
        id=job_id,
        place=place,
        status=JobState(status.decode()),
        paused=paused == b"1",
        cancel_requested=cancel_requested == b"1",
        counts=dict(zip(COUNTS, counts, strict=True)),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def _pairs(ids: Sequence[str], jobs: Sequence[NewJob]) -> Iterator[str]:
    """What the script takes of each job: its id, and where its items are staged, unless they go
    along."""
    for job_id, job in zip(ids, jobs, strict=True):
        yield job_id
        yield "" if job.stage.whole else job.stage.id


def _lost() -> Unavailable:
    return Unavailable("what was uploaded is not on the server any more; send it again")
