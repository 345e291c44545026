"""The models of the native API's answers: times in RFC 3339, lengths in tokens.

`/openapi.json` describes answers by them. What requests may say is in `requests.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, JsonValue, PrivateAttr

from common.generation import FinishReason
from common.types import ItemState, JobState, ModelCard
from web.schemas.fields import Message
from web.schemas.requests import Limits


class Counts(BaseModel):
    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Flags(BaseModel):
    """Wishes under way."""

    cancel_requested: bool
    paused: bool


class TryView(BaseModel):
    """One attempt to deliver an event."""

    at: datetime
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    next_at: datetime | None = None


class HookView(BaseModel):
    """A webhook event of a job with every attempt to deliver it."""

    id: str
    type: str
    status: str
    tries: list[TryView]


class WebhookView(BaseModel):
    url: str
    events: list[str]


StoppedBy = Literal["requested", "token_budget", "error_rate"]


class JobView(BaseModel):
    """A job as users see it."""

    id: str
    status: JobState
    model: str
    counts: Counts
    usage: Usage
    waiting_for: Literal["worker", "larger_worker"] | None = Field(
        description="`worker`: nobody serves the model now; the job waits. `larger_worker`: no "
        "live worker has as many "
        "slots as an item needs, one for each of its `n` continuations; such items wait."
    )
    flags: Flags
    priority: int
    params: dict[str, JsonValue] = Field(
        description="The params that were given; each item's result has them complete."
    )
    chat_template_kwargs: dict[str, JsonValue] = Field({}, description="As they were given.")
    webhook: WebhookView | None
    webhooks: list[HookView]
    metadata: dict[str, JsonValue]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime | None
    cancelled_by: StoppedBy | None = Field(
        description="Who stopped the job: somebody, or one of its limits."
    )
    retry_of: str | None = Field(description="The job whose failed items these are.")
    retried_by: str | None = Field(
        description="The last job, if it is still there, that retries what failed of this."
    )
    batch: str | None = Field(description="The batch (in OpenAI's sense) whose lines these are.")
    limits: Limits
    links: dict[str, str]

    _replayed: bool = PrivateAttr(False)

    @property
    def replayed(self) -> bool:
        """The idempotency key had made this job before."""
        return self._replayed


class Added(BaseModel):
    """Items that an append made: the job's from index `first` on."""

    first: int
    count: int


class AppendView(JobView):
    """The job, and which of its items were added."""

    added: Added


class JobList(BaseModel):
    data: list[JobView]
    has_more: bool
    after: str | None = Field(description="Give this as `after` for the next page.")


class SpelledToken(BaseModel):
    token: str = Field(description="A part of a character is shown as escapes.")
    token_id: int
    bytes: list[int] | None = Field(
        None, description="What it adds to the text, where that is not `token` in UTF-8."
    )


class TopLogprob(SpelledToken):
    logprob: float


class LogprobView(SpelledToken):
    """A token, how likely the model found it (before temperature, penalties and filters), and the
    likeliest ones."""

    logprob: float | None = Field(
        description="Null for a prompt's first token: nothing comes before it."
    )
    top: list[TopLogprob]


class OutputView(BaseModel):
    text: str
    finish_reason: FinishReason
    token_count: int
    logprobs: list[LogprobView] | None = Field(
        None, description="One a generated token, where they were asked for."
    )


class ErrorEntry(BaseModel):
    """What is wrong and where: the path of a field, and the line of an upload (from 1)."""

    code: str
    message: str
    field: str | None = None
    line: int | None = None


class ResultRow(BaseModel):
    """One item: its state and, once it is finished, its result. Params and seed are told as they
    took effect."""

    index: int
    custom_id: str | None
    status: ItemState
    outputs: list[OutputView]
    prompt_logprobs: list[LogprobView] | None = Field(
        None, description="One a prompt token, where asked for."
    )
    usage: Usage
    error: ErrorEntry | None
    params: dict[str, JsonValue]
    seed: int | None
    attempts: int
    queued_s: float | None
    run_s: float | None
    worker: str | None
    model: str
    metadata: dict[str, JsonValue] = {}


class ItemDelta(BaseModel):
    """What continuation `output` of an item says next, from its token `at` on."""

    index: int
    output: int
    at: int
    tokens: int = Field(description="How many there are.")
    text: str
    logprobs: list[LogprobView] | None = Field(
        None, description="One a token, where they were asked for."
    )


class ItemRow(ResultRow):
    """A result row with what was asked."""

    prompt: str | None = None
    prompt_ids: list[int] | None = None
    messages: list[Message] | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None


class ItemList(BaseModel):
    data: list[ItemRow]
    has_more: bool
    after: int | None = Field(description="Give this as `after` for the next page.")


class TimeRange(BaseModel):
    low: float
    high: float


class CheckView(BaseModel):
    """What a submit of the same content would have met; nothing was enqueued."""

    valid: bool
    model: str
    items: int
    prompt_tokens: int | None = Field(description="Exact; null where only the worker can count.")
    max_prompt_tokens: int | None
    max_completion_tokens: int = Field(description="If every continuation ran to its max_tokens.")
    seconds: TimeRange | None = Field(
        description="How long it may take, by recent jobs; null if unknown."
    )
    errors: list[ErrorEntry]


class ModelView(BaseModel):
    """OpenAI's shape, and what the worker published under `card`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["promptmill"] = "promptmill"
    workers: int = Field(description="Live workers that serve it; 0: jobs wait.")
    alias_of: str | None = Field(
        None, description="The model's own name, where `id` is an alias of it."
    )
    card: ModelCard


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelView]


class WorkerView(BaseModel):
    id: str
    host: str
    pid: int
    started_at: datetime
    model: str
    digest: str
    engine: str
    device: str
    slots: int
    room: int = Field(description="Free slots.")
    held: int = Field(description="Items it works on.")


class WorkerList(BaseModel):
    data: list[WorkerView]


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """Every error of the native API (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable, for programs.")
    detail: str
    errors: list[ErrorEntry]
    request_id: str
