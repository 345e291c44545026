"""The JobStore: the only truth about jobs. Knows Redis; knows nothing of Celery, HTTP or models.

Keys are in `common/store/keys.py`, moves in `common/store/lua/`. Writers are the web tier (`stage`,
`attach`, `cancel`, `delete`) and the worker (`common/store/fleet.py`); here is also every way to
read a job back.
"""

from __future__ import annotations

import json
import logging
import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import redis
from pydantic_core import from_json

from common.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    TooLarge,
    TooMany,
    Unavailable,
    storage_full,
)
from common.params import SamplingParams
from common.store import keys
from common.store.connection import redis_errors
from common.store.job import Job, parse_job
from common.store.outbox import StoredEvent, parse_event
from common.store.packing import expand, unpack
from common.store.places import pages, place_of
from common.store.records import Unreadable, readable, reading
from common.store.scripts import Scripts
from common.store.upload_stage import Stage
from common.stored_item import StoredItem
from common.types import ItemState, JobState

MEMORY_SHARE = 0.75  # of maxmemory; the rest is for what comes and goes
MEMORY_AGE = 1.0  # seconds
BYTES_A_TOKEN = 3  # of a stored result: 4-5 characters, compressed, with its share of the record
MOST_READ = 2**20  # bytes of jobs' records that are read at once
TEMPLATE_KWARGS = "chat_template_kwargs"  # of a job's spec and of an item
NO_LIMITS = (0, 0, 0, 0, 0, 0, 0)
NO_RESULT = {
    "outputs": [],
    "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
}

log = logging.getLogger(__name__)


def new_job_id() -> str:
    """`job_0…`: the digit is the shard, for the day that pools of models have a Redis each."""
    return f"job_0{secrets.token_hex(10)}"


@dataclass(frozen=True)
class Attached:
    """What `attach` did: `outcome` is new, same (the idempotency key knew it), conflict, deleted
    (its batch was), lost, tenant_full, full or stored_full."""

    outcome: str
    job_id: str
    rings: int


@dataclass(frozen=True, slots=True)
class Head:
    """What of a job a worker needs to run its items. `spec` is without the job's metadata and
    webhook."""

    spec: dict[str, Any]
    created_at: int  # ms
    digest: str  # of the model that the items were counted for
    interactive: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items of a job that are stored together; `size` is in bytes of their JSON."""

    head: Head
    items: list[StoredItem]
    size: int


@dataclass(frozen=True)
class Appended:
    """What `append` did: `outcome` is added, same (the idempotency key knew it), conflict, or
    duplicate with digests of the custom_ids that the job has already. The items are the job's from
    index `first` on."""

    outcome: str
    rings: int = 0
    first: int = 0
    count: int = 0
    duplicates: frozenset[bytes] = frozenset()


def refuse_overfull(outcome: str, limits: tuple[int, ...] = NO_LIMITS) -> None:
    """Tell a limit that `attach` or `append` met: the tenant's own, or everybody's."""
    if outcome == "stored_full":
        raise storage_full(limits[6])
    if outcome == "tenant_full":
        raise TooMany(
            "you have as many items, tokens or bytes waiting as you may; submit again when some "
            "have run"
        )
    if outcome == "full":
        message = "as many items, tokens or bytes wait here as may; try again when some have run"
        raise Unavailable(message, code="queue_full")


class JobStore:
    """Reads and the web tier's moves. One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self.client = client
        self.scripts = Scripts(client)
        self._memory_read: tuple[float, dict[str, Any]] = (-MEMORY_AGE, {})

    # Moves

    def stage(self, n: int = 1) -> Stage:
        """Of items that have `n` continuations each where they do not say."""
        return Stage(self.client, n)

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
                int(each or 0) for each in self.client.hmget(keys.queued(), "tokens", "surplus")
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

    def stored(self, tenant: str) -> int:
        """Bytes that a tenant keeps: of jobs with their results, and of files, as stored."""
        with redis_errors():
            found = self.client.hmget(keys.stored(tenant), "jobs", "files")
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
                memory = self.client.info("memory")
            self._memory_read = (time.monotonic(), memory)
        return memory

    def attach(
        self,
        stage: Stage,
        fields: dict[str, Any],
        *,
        job_id: str,
        idempotency: tuple[str, str] = ("", ""),
        deadline: int = 0,
        limits: tuple[int, ...] = NO_LIMITS,
    ) -> Attached:
        """Make what was staged a job. Durable when it returns.

        `fields` are the job hash's tenant, model, digest, total, cost, n_max, priority, hooks,
        retention (ms) and spec (JSON), and where wanted interactive, surplus, token_budget,
        error_rate and retry_of; `idempotency` is (key, fingerprint of the content); `deadline` is
        in ms, 0 for none; `limits` are items, tokens and bytes that the tenant may have waiting,
        then those that all may have, and the bytes that the tenant may keep, 0 for none.
        """
        sizes = {"bytes": stage.bytes, "indexed": 1} | (
            {} if stage.n_min is None else {"n_min": stage.n_min}
        )
        flat = [part for pair in {**fields, **sizes}.items() for part in pair]
        with redis_errors():
            outcome, found, rings = self.scripts.attach(
                job_id,
                stage.id,
                *idempotency,
                deadline,
                *limits,
                stage.whole,
                stage.whole_ids,
                *flat,
            )
        return Attached(outcome.decode(), found.decode(), rings)

    def copy_items(self, job_id: str, stage: Stage, items: int) -> bool:
        """Stage the items that a job was made of. False where they cannot be had any more, or are
        not so many."""
        with redis_errors():
            return bool(self.scripts.copy_items(job_id, stage.id, items))

    def append(
        self,
        job_id: str,
        stage: Stage,
        *,
        tokens: int,
        n_max: int,
        surplus: int = 0,
        limits: tuple[int, ...] = NO_LIMITS,
        most_items: int,
        streams: tuple[int, int] = (0, 0),
        idempotency: tuple[str, str] = ("", ""),
    ) -> Appended:
        """Add what was staged to a job that is not over, whole or not at all. Durable when it
        returns.

        `tokens` is what it is expected to need, and `surplus` what its results are expected to take
        above `BYTES_A_TOKEN`; `limits` and `idempotency` are those of `attach`; `most_items` is
        what the job may have in all; `streams` are continuations to be streamed and how many of
        those it may have.

        Raises:
            Conflict: the job is over or was cancelled.
            TooMany, StorageFull, Unavailable: a limit of what waits or is kept would be passed.
            TooLarge: the job would have more items than it may.
            InvalidRequest: it would stream more than it may.
        """
        needs = (stage.total, tokens, n_max, stage.bytes, *limits, most_items, *streams)
        with redis_errors():
            outcome, rings, *more = self.scripts.append(
                job_id, stage.id, *needs, *idempotency, surplus, stage.whole, stage.whole_ids
            )
        told = outcome.decode()
        if told in ("added", "same"):
            return Appended(told, rings, *more)
        if told == "duplicate":
            return Appended(told, duplicates=frozenset(more))
        if told == "too_many":
            message = (
                f"a job takes at most {most_items:,} items, with those it has; submit another job"
            )
            raise TooLarge(message, field="items")
        if told == "too_many_streams":
            message = (
                f"a job streams at most {streams[1]} continuations, with those it has; "
                "leave stream out"
            )
            raise InvalidRequest(message, code="out_of_range", field="stream")
        refuse_overfull(told, limits)
        return Appended(told, self._outcome(job_id, outcome, rings) if told != "conflict" else 0)

    def edit(self, job_id: str, field: str, value: float) -> int:
        """Change a live job: `paused` (0 or 1), `priority`, `deadline` (ms), `token_budget` or
        `error_rate` (of these three 0 is none). Answers rings.

        Raises:
            Conflict: the job is over.
        """
        with redis_errors():
            outcome, rings = self.scripts.edit(job_id, field, value)
        return self._outcome(job_id, outcome, rings)

    def _outcome(self, job_id: str, outcome: bytes, rings: int) -> int:
        if outcome == b"gone":
            raise NotFound(f"no job {job_id}")
        if outcome == b"terminal":
            raise Conflict(
                f"job {job_id} is over or was cancelled and cannot be changed", code="job_over"
            )
        if outcome == b"lost":
            raise Unavailable("the upload took too long and was dropped; send it again")
        return int(rings)

    def cancel(self, job_id: str) -> tuple[JobState, bool]:
        """Ask a job to stop. Answers its state (a running one ends within a heartbeat) and whether
        webhooks are due."""
        with redis_errors():
            answer = self.scripts.cancel(job_id)
        if not answer:
            raise NotFound(f"no job {job_id}")
        return JobState(answer[0].decode()), bool(answer[1])

    def delete(self, job_id: str) -> None:
        """Remove a job. That there is none is no error: an earlier try, whose answer was lost, may
        have removed it."""
        with redis_errors():
            self.scripts.delete(job_id)

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

    def check_owner(self, job_id: str, tenant: str) -> None:
        """`NotFound` for another tenant's job; asks nothing else of its record, which may be
        unreadable."""
        with redis_errors():
            found = self.client.hget(keys.job(job_id), "tenant")
        if found != tenant.encode():
            raise NotFound(f"no job {job_id}")

    def jobs(self, tenant: str, after: str | None, limit: int) -> tuple[list[Job], bool]:
        """A tenant's jobs, newest first, from behind `after`; and whether there are more."""
        found = list(islice(self.walk(tenant, after, limit + 1), limit + 1))
        return found[:limit], len(found) > limit

    def walk(self, tenant: str, after: str | None = None, page: int = 100) -> Iterator[Job]:
        """The same one by one; read about a `page` at a time, and a MiB at most. A job whose record
        cannot be read is left out, with a line in the log."""
        line = keys.tenant_jobs(tenant)
        behind = place_of(self.client, line, tenant, after) if after is not None else None
        for ids in pages(self.client, line, newest_first=True, behind=behind, page=page):
            for some in self._by_size(ids):
                with redis_errors():
                    pipe = self.client.pipeline(transaction=False)
                    for job_id in some:
                        pipe.hgetall(keys.job(job_id))
                    hashes = pipe.execute(raise_on_error=False)
                found = [pair for pair in zip(some, hashes, strict=True) if pair[1]]
                yield from readable(found, lambda pair: parse_job(*pair), lambda pair: pair[0])

    def _by_size(self, ids: list[str]) -> Iterator[list[str]]:
        """The jobs in groups of `MOST_READ` bytes: those of earlier versions may have megabytes of
        metadata each."""
        with redis_errors():
            pipe = self.client.pipeline(transaction=False)
            for job_id in ids:
                pipe.hstrlen(keys.job(job_id), "spec")
            sizes = pipe.execute(raise_on_error=False) if ids else []
        group: list[str] = []
        total = 0
        for job_id, size in zip(ids, sizes, strict=True):
            size = size if isinstance(size, int) else 0
            if group and total + size > MOST_READ:
                yield group
                group, total = [], 0
            group.append(job_id)
            total += size
        if group:
            yield group

    def items(self, job_id: str, first: int, count: int) -> list[dict[str, Any]]:
        """Inputs of items [first, first + count), fewer at the end of the job. Unknown jobs have
        none."""
        with redis_errors():
            starts = self._chunk_starts(job_id, first, count)
            blobs = self.client.hmget(keys.job(job_id, "in"), starts) if starts else []
        found: list[dict[str, Any]] = []
        for start, blob in zip(starts, blobs, strict=True):
            if blob is not None:
                chunk = unpack(blob)
                found.extend(chunk[max(0, first - start) : max(0, first + count - start)])
        return found

    def chunk(self, job_id: str, start: int, head: Head | None = None) -> Chunk:
        """What a worker needs to run items of one chunk; `head` is their job's, if it was read
        before. One round trip.

        Raises:
            NotFound: the job is gone.
        """
        with redis_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.hget(keys.job(job_id, "in"), str(start))
            if head is None:
                pipe.hmget(keys.job(job_id), "spec", "created_at", "digest", "interactive")
            blob, *about = pipe.execute()
        if blob is None or (about and about[0][0] is None):
            raise NotFound(f"no job {job_id}")
        text = expand(blob)
        return Chunk(head or _head(*about[0]), from_json(text), len(text))

    def _chunk_starts(self, job_id: str, first: int, count: int) -> list[int]:
        line, pipe = keys.job(job_id, "starts"), self.client.pipeline(transaction=False)
        pipe.zrevrangebyscore(line, first, "-inf", start=0, num=1)
        pipe.zrangebyscore(line, f"({first}", f"({first + count}")
        before, inside = pipe.execute()
        return [int(start) for start in before + inside]

    def rows(
        self, job_id: str, first: int, count: int, spec: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Items as `row` shows them, with state and, where there is one, result."""
        return [found for _, found in self.answers(job_id, first, count, spec)]

    def answers(
        self, job_id: str, first: int, count: int, spec: dict[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Items as they were stored, each with its `row`."""
        with redis_errors():
            states, lengths, results, *chunks = self.scripts.rows(job_id, first, count)
        if not states:
            return []
        spec = spec or self.job(job_id).spec
        inputs = _between(job_id, first, len(states), chunks)
        params, at, found = complete_params(spec, {}), 0, []
        for i, (item, state, (length,)) in enumerate(
            zip(inputs, states, struct.iter_unpack(">I", lengths), strict=True)
        ):
            blob = results[at : at + length]
            at += length
            try:
                with reading(f"item {first + i} of {job_id}"):
                    own = complete_params(spec, item) if "params" in item else params
                    status, result = (
                        ItemState.from_byte(chr(state)),
                        _result(blob) if length else None,
                    )
                    told = row(first + i, item, status, result, spec["model"], own)
            except Unreadable as error:
                item, told = {}, unreadable_row(first + i, error, spec["model"], params)
            found.append((item, told))
        return found

    def results(self, job_id: str, count: int) -> list[dict[str, Any]]:
        """What became of the first `count` items, without what was asked: the short form of `rows`.

        Those without a result have a `status` instead: they were cancelled or expired before they
        ran.
        """
        with redis_errors():
            blobs = self.client.hmget(
                keys.job(job_id, "out"), [str(index) for index in range(count)]
            )
            states = (
                b"" if all(blobs) else self.client.getrange(keys.job(job_id, "st"), 0, count - 1)
            )
        if not all(blobs) and len(states) < count:
            raise NotFound(f"no job {job_id}")
        return [
            {**NO_RESULT, "prompt_logprobs": None, "error": None, **unpack(blob)}
            if blob
            else {
                **NO_RESULT,
                "error": None,
                "status": ItemState.from_byte(chr(states[index])).value,
            }
            for index, blob in enumerate(blobs)
        ]

    def finished_after(self, job_id: str, cursor: int, limit: int) -> list[int]:
        """Indices in order of completion, from the cursor-th on: whoever has read k of them goes on
        at cursor k.

        Items that were cancelled or expired before they ran have no result and do not appear.
        """
        with redis_errors():
            packed = self.client.getrange(
                keys.job(job_id, "order"), cursor * 4, (cursor + limit) * 4 - 1
            )
        return [index for (index,) in struct.iter_unpack(">I", packed)]

    def said(self, job_id: str) -> list[tuple[int, bytes]]:
        """What streamed items without a result said so far, as (index, entry) in order of an item's
        entries."""
        with redis_errors():
            indices = sorted(
                int(index) for index in self.client.smembers(keys.job(job_id, "streams"))
            )
            pipe = self.client.pipeline(transaction=False)
            for index in indices:
                pipe.lrange(keys.job(job_id, f"events:{index}"), 0, -1)
            lists = pipe.execute() if indices else []
        return [
            (index, entry)
            for index, entries in zip(indices, lists, strict=True)
            for entry in entries
        ]

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


def _head(spec: bytes, created_at: bytes, digest: bytes, interactive: bytes | None) -> Head:
    needed = {
        name: value
        for name, value in json.loads(spec).items()
        if name not in ("metadata", "webhook")
    }
    return Head(needed, int(created_at), digest.decode(), interactive == b"1")


def _between(job_id: str, first: int, count: int, chunks: list[Any]) -> list[Any]:
    """Items [first, first + count) of chunks as `rows` answers them: start, chunk, start, chunk,
    ... None for one that cannot be read."""
    found: list[Any] = [None] * count
    for start, blob in zip(chunks[::2], chunks[1::2], strict=True):
        try:
            with reading(f"items from {start} on of {job_id}"):
                part = unpack(blob)[max(0, first - start) : max(0, first + count - start)]
        except Unreadable as error:
            log.warning("%s: %s", error, error.__cause__, extra={"job": job_id})
        else:
            place = max(0, start - first)
            found[place : place + len(part)] = part
    return found


def _result(blob: bytes) -> dict[str, Any]:
    """A result as it is stored; `ValueError` where it has no shape that could be shown."""
    found: dict[str, Any] = unpack(blob)
    if not isinstance(found.get("outputs", []), list) or not isinstance(
        found.get("usage", {}), dict
    ):
        raise ValueError("outputs or usage have another shape")
    return found


def unreadable_row(
    index: int, error: Unreadable, model: str, params: dict[str, Any]
) -> dict[str, Any]:
    """What stands for an item whose record is damaged."""
    log.warning("%s: %s", error, error.__cause__)
    return row(
        index,
        {},
        ItemState.FAILED,
        {"error": {"code": error.code, "message": error.message}},
        model,
        params,
    )


def effective_params(spec: dict[str, Any], item: StoredItem) -> dict[str, Any]:
    """The job's params with the item's own over them."""
    return {**spec.get("params", {}), **item.get("params", {})}


DEFAULTS = SamplingParams.model_validate({}).model_dump(mode="json", exclude={"seed"})


def complete_params(spec: dict[str, Any], item: StoredItem) -> dict[str, Any]:
    """The same with all defaults, but without the seed. Both were stored as the model dumps them:
    nothing to check."""
    params = {**DEFAULTS, **effective_params(spec, item)}
    params.pop("seed", None)
    return params


def effective_template_kwargs(spec: dict[str, Any], item: StoredItem) -> dict[str, Any]:
    """The job's chat template's variables with the item's own over them."""
    return {**spec.get(TEMPLATE_KWARGS, {}), **item.get("chat_template_kwargs", {})}


def row(
    index: int,
    item: StoredItem,
    state: ItemState,
    result: dict[str, Any] | None,
    model: str,
    params: dict[str, Any],
) -> dict[str, Any]:
    """One item as users see it; `params` are complete, as they took effect."""
    return {
        "index": index,
        "custom_id": item.get("custom_id"),
        "status": state.value,
        **NO_RESULT,
        "prompt_logprobs": None,
        "error": None,
        "params": params,
        "seed": None,
        "attempts": 0,
        "queued_s": None,
        "run_s": None,
        "worker": None,
        "model": model,
        "metadata": item.get("metadata", {}),
        **(result or {}),
    }
