"""The models of the native API's answers: times in RFC 3339, lengths in tokens.

`/openapi.json` describes answers by them. What requests may say is in `requests.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, JsonValue, PrivateAttr

from common.store.job_prep import TemplateDict, Truncate
from common.types import JobState, ModelCard
from web.schemas.metrics import MetricEntry
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
    """Requests that the job has not reached yet, or that still hold."""

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


class ErrorEntry(BaseModel):
    """An error, and its place: the path of a field, and the line of an upload (from 1)."""

    code: str
    message: str
    field: str | None = None
    line: int | None = None


StoppedBy = Literal[
    "requested", "token_budget", "error_rate", "source_deleted", "source_empty", "refused"
]


class InputFromView(BaseModel):
    """The jobs of whose rows a job is made."""

    jobs: list[str]
    rows: Literal["succeeded"]


class JobView(BaseModel):
    """A job as users see it."""

    id: str
    status: JobState
    model: str
    counts: Counts
    usage: Usage
    waiting_for: Literal["job", "worker", "larger_worker"] | None = Field(
        description="`job`: it has no items yet, and is made of the rows of other jobs when these "
        "are over. `worker`: no live worker serves the model; the job waits. `larger_worker`: no "
        "live worker has as many slots as an item needs, one for each of its `n` continuations."
    )
    flags: Flags
    priority: int
    params: dict[str, JsonValue] = Field(
        description="The parameters that were given; each item's result has all of them. In lists "
        'and events an `output` of more than 1 KiB is `{"shortened": its kind, "bytes": its size}`.'
    )
    chat_template_kwargs: dict[str, JsonValue] = Field(
        {}, description="The variables that were given."
    )
    webhook: WebhookView | None
    webhooks: list[HookView]
    metadata: dict[str, JsonValue]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime | None
    paused_at: datetime | None = Field(description="Since when it is paused.")
    paused_s: float = Field(
        description="Seconds of its pauses that are over, since its start: no part of its run time."
    )
    cancelled_by: StoppedBy | None = Field(
        description="What stopped the job: a request, or one of its limits. Or why it could not be "
        "made of other jobs' rows, as `error` says: a job was deleted, none of their rows "
        "succeeded, or they cannot be a job."
    )
    error: ErrorEntry | None = Field(
        None, description="Why the job could not be made of other jobs' rows."
    )
    retry_of: str | None = Field(description="The job whose failed items this job retries.")
    retried_by: str | None = Field(
        description="The last job that retries the failed items of this one, if it still exists."
    )
    retries: list[str] = Field(
        description="All jobs that retry failed items of this one, newest first."
    )
    input_from: InputFromView | None = Field(
        None, description="The jobs of whose rows this one is made."
    )
    judge: Literal["pairs", "scale"] | None = Field(
        None, description="It judges their outputs: `/verdicts` tells what came of it."
    )
    rerun_of: str | None = Field(description="The job whose items this job runs again.")
    trial: bool = Field(description="It has only the first items of what somebody tried out.")
    batch: str | None = Field(description="The batch (of OpenAI's API) that the job runs.")
    sweep: str | None = Field(description="The sweep that the job is one combination of.")
    limits: Limits
    # How its prompts are made may be long, and does not change.
    template: TemplateDict | None = Field(
        None, description="As the job, or its preset, gave it. Null in lists and events."
    )
    clean: list[str] = Field([], description="Empty in lists and events.")
    truncate: Truncate | None = Field(None, description="Null in lists and events.")
    preset: str | None = Field(
        None, description="The preset that took effect, with its version. Null in lists and events."
    )
    bad_rows: Literal["fail"] | None = Field(
        None,
        description="`fail`: rows that cannot run stay, as failed items. Null in lists and events.",
    )
    columns: list[str] = Field(
        [], description="The names of the items' variables, in order. Empty in lists and events."
    )
    metrics: list[MetricEntry] = Field(
        [], description="What outputs are scored by, as the job or its preset asked for."
    )
    links: dict[str, str]

    _replayed: bool = PrivateAttr(False)

    @property
    def replayed(self) -> bool:
        """The idempotency key belongs to an earlier request, which made this job."""
        return self._replayed


class Added(BaseModel):
    """The added items: `count` of them, from index `first` on."""

    first: int
    count: int


class AppendView(JobView):
    """The job, and which of its items were added."""

    added: Added


class SortedJobs(BaseModel):
    """What an order by something other than time was made of: the newest jobs, `count` of them;
    `all` if that is all that are wanted."""

    count: int
    all: bool


class JobList(BaseModel):
    data: list[JobView]
    has_more: bool
    after: str | None = Field(description="Give this as `after` for the next page.")
    searched: int | None = Field(
        None,
        description=(
            "How many jobs were looked at, where a search stopped because it took too long: go on "
            "with `after`. Null if it looked at all, or found a whole page."
        ),
    )
    sorted: SortedJobs | None = Field(
        None, description="Null where the order is that of submission."
    )


class TimeRange(BaseModel):
    low: float
    high: float


class CheckView(BaseModel):
    """The size and the errors of a job, as if it had been submitted; nothing was queued."""

    valid: bool
    model: str
    items: int
    prompt_tokens: int | None = Field(description="Exact; null if only the worker can count them.")
    max_prompt_tokens: int | None
    max_completion_tokens: int = Field(description="If every continuation reached its max_tokens.")
    seconds: TimeRange | None = Field(
        description="Estimated run time, from recent jobs; null if unknown."
    )
    errors: list[ErrorEntry]


class ModelView(BaseModel):
    """A model as OpenAI's API has it, and under `card` what its worker published."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["promptmill"] = "promptmill"
    workers: int = Field(description="Live workers that serve it; with 0, jobs wait.")
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
    held: int = Field(description="Items that it runs.")
    drained: bool = Field(description="It takes no more items, and runs those that it has.")


class WorkerList(BaseModel):
    data: list[WorkerView]


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """The body of every error of the native API (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable, for programs.")
    detail: str
    errors: list[ErrorEntry]
    request_id: str
