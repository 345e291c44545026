"""A job as it is stored: its hash, parsed once. Knows neither Redis nor how a job is shown.

The keys beside the hash (items, results, states) are read by `common/store/job_items.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from common.errors import ErrorDict
from common.store.job_spec import JobSpec, WebhookSpec, parse_spec
from common.store.records import hash_of, reading
from common.types import JobState


@dataclass(frozen=True)
class InputFrom:
    """The jobs of whose rows a job is made. As a `judge`, it compares the outputs of two in pairs,
    in both orders, or grades those of one on a scale."""

    jobs: tuple[str, ...]
    rows: str = "succeeded"
    judge: str | None = None  # pairs or scale

    def field(self) -> dict[str, str]:
        """The field of the job's record."""
        judge = {"judge": self.judge} if self.judge else {}
        return {"input_from": json.dumps({"jobs": self.jobs, "rows": self.rows, **judge})}


_STATES = {state.value.encode(): state for state in JobState}


@dataclass(frozen=True)
class Job:
    """One job. All times are milliseconds of the Redis server's clock; `attach` and the other
    scripts named below are those under `lua/`."""

    id: str
    # The tenant that submitted the job; `attach` stores it, as all fields that name no other
    # script.
    tenant: str
    model: str  # The name of the model that the items run on; never an alias.
    digest: str  # The digest of the model's card that the items were counted for.
    status: JobState  # `exchange` makes it running; `settle` in `lib/finish.lua` ends it.

    total: int  # Items of the job; `append` adds to it.
    pending: int  # Items that wait for a worker; every script that moves items keeps these six.
    running: int  # Items that workers hold.
    succeeded: int  # Items that ended with a result.
    failed: int  # Items that ended with an error.
    cancelled: int  # Items that ended because the job was cancelled.
    expired: int  # Items that ended because the deadline passed.
    cursor: int  # The first item that no worker was ever given; `exchange` moves it.

    cost: int  # Tokens that an item is expected to need; `append` sets it anew, as the next two.
    weight: int  # Bytes of an item as stored, on average.
    # Bytes that an item's result is expected to take above 3 a token, for log-probabilities.
    surplus: int
    n_max: int  # The most slots that an item takes; `append` may raise it.
    n_min: int | None  # The fewest slots that an item takes; None where all take `n_max`.
    streams: int  # Continuations that are to be streamed; `append` adds to it.
    prompt_tokens: int  # Tokens of the prompts of ended items; `exchange` adds them up.
    completion_tokens: int  # Tokens generated for ended items; `exchange` adds them up.
    size: int  # Bytes of items and results as stored; `append` and `exchange` add to it.

    priority: int  # Higher goes first among the tenant's jobs; `edit` changes it.
    token_budget: int  # Tokens after which the job is stopped, 0 for no limit; `edit` changes it.
    error_rate: float  # Share of failed items that stops it, 0 for no limit; `edit` changes it.
    paused: bool  # No item starts while it is set; `edit` sets and clears it.
    cancel_requested: bool  # No item starts any more; `cancel` sets it, or a limit of the job.
    # Why that is: requested, token_budget or error_rate; None where it is not.
    cancel_reason: str | None

    created_at: int  # When `attach` stored the job.
    started_at: int | None  # When a worker first took an item; `exchange` sets it.
    finished_at: int | None  # When the last item ended; `settle` in `lib/finish.lua` sets it.
    deadline: int | None  # When items that did not end expire; `edit` changes it.
    paused_at: int | None  # When its last pause began; `edit` sets it.
    resumed_at: int | None  # When a pause ended last; `edit` sets it, or the end of the job.
    paused_ms: int  # How long all pauses since its start were that are over; `edit` adds to it.
    retention: int  # How long the job is kept after its end, in ms.

    interactive: bool  # A client waits for the answer: it goes first and is in no list of jobs.
    indexed: bool  # Digests of custom_ids are stored; False for jobs of the first versions only.
    hooks: tuple[str, ...]  # Types of the webhook events that the tenant wants.
    batch: str | None  # The batch whose lines are the items.
    retry_of: str | None  # The job whose failed items these are.
    rerun_of: str | None  # The job whose items were run again as this one.
    # Jobs made of this one's failed items, newest first; `attach` of these adds them.
    retries: tuple[str, ...]

    sweep: str | None  # The sweep that the job is one combination of.

    waiting: bool  # It has no items yet: it waits for the jobs in `input_from`; until `attach`.
    input_from_json: bytes | None  # `input_from` as JSON, where it is made of other jobs' rows.
    # Why it could not be made of those, as JSON; `end_derived` sets it.
    error_json: bytes | None
    trial: bool  # It has only the first items of what somebody tries out.
    metadata_json: bytes | None  # What the tenant noted of it since; `describe` sets it.
    # What the tenant asked for, as JSON; `spec` has it parsed.
    spec_json: bytes = field(repr=False)

    @cached_property
    def spec(self) -> JobSpec:
        """What the tenant asked for, parsed at the first use.

        Raises:
            Unreadable: it is no JSON object.
        """
        spec = parse_spec(self.id, self.spec_json)
        if self.metadata_json is not None:
            with reading(self.id):
                spec["metadata"] = dict(json.loads(self.metadata_json))
        return spec

    @property
    def input_from(self) -> InputFrom | None:
        """The jobs of whose rows this one is made."""
        if self.input_from_json is None:
            return None
        with reading(self.id):
            found = json.loads(self.input_from_json)
            return InputFrom(tuple(found["jobs"]), found["rows"], found.get("judge"))

    @property
    def error(self) -> ErrorDict | None:
        """Why it could not be made of the rows of others."""
        if self.error_json is None:
            return None
        with reading(self.id):
            found: ErrorDict = json.loads(self.error_json)
            return found

    @property
    def item_bytes(self) -> int:
        """Bytes that an item takes with its result, on average, as stored."""
        return self.size // max(1, self.total)

    @property
    def retried_by(self) -> str | None:
        """The last job made of this one's failed items."""
        return self.retries[0] if self.retries else None

    @property
    def webhook(self) -> WebhookSpec | None:
        """Where events are delivered: url, events and, perhaps, secret."""
        return self.spec.get("webhook")


def _named(*names: str) -> tuple[tuple[str, bytes], ...]:
    """Fields of `Job` that the hash calls the same, with their names there."""
    return tuple((name, name.encode()) for name in names)


_TEXTS = _named("tenant", "model", "digest")
_NUMBERS = (
    *_named("total", "pending", "running", "succeeded", "failed", "cancelled", "expired", "cursor"),
    *_named("cost", "weight", "n_max", "prompt_tokens", "completion_tokens", "priority"),
    *_named("created_at", "retention"),
    ("size", b"bytes"),
)
_FLAGS = _named("paused", "cancel_requested")
_MOMENTS = _named("started_at", "finished_at", "deadline", "paused_at", "resumed_at")
_OPTIONAL_TEXTS = _named("cancel_reason", "batch", "retry_of", "rerun_of", "sweep")


def parse_job(job_id: str, answer: Any) -> Job:
    """The job of a hash as the server answered it.

    Raises:
        KeyError, ValueError: the record is damaged, or the key holds something else.
    """
    raw = hash_of(answer)
    n_min, hooks = raw.get(b"n_min"), raw.get(b"hooks")
    job = object.__new__(Job)
    # The constructor of a frozen dataclass sets its fields one by one, which takes as long as all
    # the rest of this; lists of jobs are read often.
    vars(job).update(
        {name: raw[stored].decode() for name, stored in _TEXTS},
        **{name: int(raw[stored]) for name, stored in _NUMBERS},
        **{name: raw[stored] == b"1" for name, stored in _FLAGS},
        **{name: _moment(raw, stored) for name, stored in _MOMENTS},
        **{name: _text(raw, stored) for name, stored in _OPTIONAL_TEXTS},
        id=job_id,
        status=_STATES[raw[b"status"]],
        surplus=int(raw.get(b"surplus", 0)),
        n_min=int(n_min) if n_min else None,
        streams=int(raw.get(b"streams", 0)),
        paused_ms=int(raw.get(b"paused_ms", 0)),
        token_budget=int(raw.get(b"token_budget", 0)),
        error_rate=float(raw.get(b"error_rate", 0)),
        interactive=raw.get(b"interactive") == b"1",
        indexed=b"indexed" in raw,
        hooks=tuple(hooks.decode().split(",")) if hooks else (),
        retries=_retries(raw),
        waiting=b"waiting" in raw,
        input_from_json=raw.get(b"input_from"),
        error_json=raw.get(b"error"),
        trial=raw.get(b"trial") == b"1",
        metadata_json=raw.get(b"metadata"),
        spec_json=raw[b"spec"],
    )
    return job


def _retries(raw: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Parts up to schema 3 note only the last retry."""
    listed, last = _text(raw, b"retries"), _text(raw, b"retried_by")
    found = tuple(listed.split(",")) if listed else ()
    return found if last is None or last in found else (last, *found)


def _text(raw: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = raw.get(name)
    return None if value is None else value.decode()


def _moment(raw: Mapping[bytes, bytes], name: bytes) -> int | None:
    """A time in ms; None where it is not set, or was taken away again, which is kept as 0."""
    value = raw.get(name)
    return (int(value) or None) if value else None
