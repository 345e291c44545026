"""The shapes of what the server answers, as far as the client reads them; more fields may come."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

JobStatus = Literal["queued", "running", "completed", "cancelled", "expired"]
OVER = ("completed", "cancelled", "expired")
ENDED = ("succeeded", "failed", "cancelled", "expired")  # the states in which an item stays


class Counts(TypedDict):
    """How many items a job has, and how many are in each state."""

    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int


class Flags(TypedDict):
    cancel_requested: bool
    paused: bool


class Job(TypedDict):
    """A job; `/openapi.json` describes every field."""

    id: str
    status: JobStatus
    model: str
    counts: Counts
    usage: dict[str, int]
    flags: Flags
    waiting_for: str | None
    params: dict[str, Any]
    metadata: dict[str, Any]
    created_at: str
    finished_at: str | None
    links: dict[str, str]


class Output(TypedDict):
    text: str
    finish_reason: str
    token_count: int


class Error(TypedDict):
    code: str
    message: str


class Row(TypedDict):
    """What came of one item. `index` counts from 0, in the order in which the items were sent."""

    index: int
    custom_id: str | None
    status: str
    outputs: list[Output]
    error: Error | None
    usage: dict[str, int]


class Message(TypedDict):
    """A message of a chat: `role` is system, user or assistant."""

    role: str
    content: str


def ended(job: Job) -> int:
    """How many items of a job are finished, however they ended."""
    return sum(job["counts"][state] for state in ENDED)  # type: ignore[literal-required]
