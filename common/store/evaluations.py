"""Evaluations of jobs: which scores were asked for, and what came of them. Knows Redis; nothing of
what metrics mean.

An evaluator claims an evaluation under a lease (`common/store/evaluation_work.py`), stores the
scores of the job's items a chunk at a time, and ends it with a summary. Chunks begin at multiples
of `STEP` and have `MOST_IN_CHUNK` items at most.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import redis

from common.errors import Conflict, ErrorDict, NotFound, storage_full
from common.store import keys
from common.store.connection import redis_errors
from common.store.evaluation_references import EvaluationReferences
from common.store.records import as_text, readable, reading
from common.store.score_chunk import Floats, ScoreChunk, unpack_scores
from common.store.scripts import Scripts
from common.store.submitted import NO_KEY, KeyUse, MadeWith, key_reused, parse_made
from common.types import JsonObject

STEP = 4  # items
MOST_IN_CHUNK = 512  # items, a multiple of STEP

Status = Literal["queued", "running", "done", "failed"]


def new_evaluation_id() -> str:
    return f"eval_0{secrets.token_hex(10)}"


@dataclass(frozen=True)
class Asked:
    """`metrics` as the request said them, checked by `evals.registry.choose`; `gate` has the fields
    of an `evals.gates.Rule` each, and is empty without a gate."""

    metrics: list[str | JsonObject]
    gate: list[JsonObject]

    def to_json(self) -> str:
        """As it is stored; also in the field `evaluate` of a job that is to be evaluated when it
        ends."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


def parse_asked(stored: str | bytes) -> Asked:
    """What `Asked.to_json` made; KeyError or ValueError for anything else."""
    found = json.loads(stored)
    return Asked(list(found["metrics"]), list(found["gate"]))


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as it is stored. All times are milliseconds of the Redis server's clock."""

    id: str
    job: str
    tenant: str  # The owner of the job.
    status: Status  # `create_evaluation` queues it, `claim_evaluation` runs it, `end_…` ends it.
    origin: Literal["job", "request"]  # Whether the job's submit asked for it, or a request did.
    asked: Asked
    referenced: bool  # Whether references came with it, in place of the items' own.
    created_at: int
    started_at: int | None  # When an evaluator claimed it first.
    finished_at: int | None
    done: int  # Items that were scored so far.
    total: int  # Items of the job.
    summary: JsonObject  # By metric, an `evals.summary.Summary`; empty until it is done.
    signatures: dict[str, str]  # By metric, of those that have one; empty until it is done.
    gate: JsonObject | None  # status, and rules with metric, status and reason; None without rules.
    error: ErrorDict | None  # Why it failed.


def parse_evaluation(evaluation_id: str, answer: Any) -> Evaluation:
    """The evaluation of a hash as the server answered it.

    Raises:
        KeyError, ValueError: the record is damaged, or the key holds something else.
    """
    raw = as_text(answer)

    def number(name: str) -> int | None:
        return int(raw[name]) if name in raw else None

    return Evaluation(
        id=evaluation_id,
        job=raw["job"],
        tenant=raw["tenant"],
        status=raw["status"],  # type: ignore[arg-type]  # no other is ever stored
        origin=raw["origin"],  # type: ignore[arg-type]
        asked=parse_asked(raw["asked"]),
        referenced="referenced" in raw,
        created_at=int(raw["created_at"]),
        started_at=number("started_at"),
        finished_at=number("finished_at"),
        done=int(raw["done"]),
        total=int(raw["total"]),
        summary=json.loads(raw.get("summary", "{}")),
        signatures=json.loads(raw.get("signatures", "{}")),
        gate=json.loads(raw.get("gate", "null")),
        error=json.loads(raw.get("error", "null")),
    )


class Evaluations:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)
        self.references = EvaluationReferences(client)

    def create(
        self,
        job_id: str,
        tenant: str,
        asked: Asked,
        references: Mapping[int, list[str]] | None = None,
        *,
        most_stored: int = 0,
        evaluation_id: str = "",
        use: KeyUse = NO_KEY,
    ) -> Evaluation:
        """Keep an evaluation of a job that is over. Durable when it returns.

        Its id is `evaluation_id`, if one is given, unless the idempotency key has made it before.

        `references` are by the item's index, in place of those that the items have; None: the
        items' own. `most_stored` is how many bytes the tenant may keep, 0 for no limit.

        Raises:
            NotFound: the tenant has no such job.
            Conflict: the job is not over (`not_over`), or has as many evaluations as it may
                (`too_many_evaluations`).
            KeyReused: the key made one of other content.
            StorageFull: the tenant would keep more with these references.
        """
        evaluation_id = evaluation_id or new_evaluation_id()
        size = self.references.stage(evaluation_id, references) if references else 0
        with redis_errors():
            outcome, made = self._scripts.create_evaluation(
                id=evaluation_id,
                job=job_id,
                tenant=tenant,
                asked=asked.to_json(),
                bytes=size,
                own=int(references is None),
                stored_bytes=most_stored,
                **use.of("idem", "fingerprint"),
            )
        if outcome not in (b"new", b"same"):
            raise _refusal(outcome.decode(), job_id, most_stored)
        return self.get(made.decode(), tenant)

    def made_with(self, tenant: str, key: str) -> MadeWith | None:
        """The evaluation that an idempotency key has made, if it is there."""
        with redis_errors():
            found = parse_made(self._client.get(keys.evaluation_key(tenant, key)))
            return found if found and self._client.exists(keys.evaluation(found.made)) else None

    def get(self, evaluation_id: str, tenant: str | None = None) -> Evaluation:
        """Another tenant's evaluation is not found; `tenant=None` is for the parts themselves."""
        with redis_errors():
            raw = self._client.hgetall(keys.evaluation(evaluation_id))
        if not raw or (tenant is not None and raw.get(b"tenant") != tenant.encode()):
            raise NotFound(f"no evaluation {evaluation_id[:80]!r}")
        with reading(evaluation_id):
            return parse_evaluation(evaluation_id, raw)

    def of_job(self, job_id: str) -> list[Evaluation]:
        """All evaluations of a job, the newest first; unknown jobs have none. One whose record is
        damaged is left out, with a line in the log."""
        with redis_errors():
            ids = [name.decode() for name in self._ids(job_id)]
            pipe = self._client.pipeline(transaction=False)
            for evaluation_id in ids:
                pipe.hgetall(keys.evaluation(evaluation_id))
            hashes = pipe.execute() if ids else []
        found = [pair for pair in zip(ids, hashes, strict=True) if pair[1]]
        return list(readable(found, lambda pair: parse_evaluation(*pair), lambda pair: pair[0]))

    def newest_done(self, job_id: str) -> Evaluation | None:
        """The last evaluation of a job that came to its end without an error."""
        with redis_errors():
            ids = [name.decode() for name in self._ids(job_id)]
            pipe = self._client.pipeline(transaction=False)
            for evaluation_id in ids:
                pipe.hget(keys.evaluation(evaluation_id), "status")
            states = pipe.execute() if ids else []
        done = (name for name, state in zip(ids, states, strict=True) if state == b"done")
        newest = next(done, None)
        return self.get(newest) if newest else None

    def _ids(self, job_id: str) -> list[bytes]:
        found: list[bytes] = self._client.zrevrange(keys.job(job_id, "evals"), 0, -1)
        return found

    def chunks(self, evaluation_id: str) -> Iterator[tuple[int, ScoreChunk]]:
        """All scores that are stored, in the order of items: the first item of a chunk, and the
        chunk. A few are read at a time."""
        record = keys.evaluation(evaluation_id, "scores")
        with redis_errors():
            starts = sorted(int(start) for start in self._client.hkeys(record))
        for at in range(0, len(starts), 16):
            some = starts[at : at + 16]
            with redis_errors():
                blobs = self._client.hmget(record, some)
            for start, blob in zip(some, blobs, strict=True):
                if blob is None:
                    raise NotFound(f"no evaluation {evaluation_id[:80]!r}")
                yield start, _read(evaluation_id, start, blob)

    def numbers(self, evaluation_id: str, only: Collection[str] | None = None) -> dict[str, Floats]:
        """By metric, of `only` some of them, the numbers of all items that were scored: items by
        columns, NaN where there is none. For evaluators: it reads everything that is stored."""
        parts: dict[str, list[Floats]] = {}
        for _, chunk in self.chunks(evaluation_id):
            for name, numbers in chunk.numbers.items():
                if only is None or name in only:
                    parts.setdefault(name, []).append(numbers)
        return {name: np.concatenate(numbers) for name, numbers in parts.items()}


def _read(evaluation_id: str, start: int, blob: bytes) -> ScoreChunk:
    with reading(f"the scores from item {start} on of {evaluation_id}"):
        return unpack_scores(blob)


def _refusal(outcome: str, job_id: str, most_stored: int) -> Exception:
    if outcome == "conflict":
        return key_reused("evaluation")
    if outcome == "running":
        return Conflict(
            f"{job_id} is not over; evaluate it when it is, or have `metrics` in the job",
            code="not_over",
        )
    if outcome == "too_many":
        return Conflict(
            f"{job_id} has 20 evaluations, as many as it may; rerun the job to evaluate its items"
            " in more ways",
            code="too_many_evaluations",
        )
    if outcome == "stored_full":
        return storage_full(most_stored)
    return NotFound(f"no job {job_id[:80]!r}")
