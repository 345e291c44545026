"""The API's one definition: validation, `/openapi.json` and the form's fields all come from these
models.

Requests are strict: a field is honoured or refused, and numbers are never read out of text. Answers
say what is, in RFC 3339 times and tokens.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    PrivateAttr,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from common.chat_template import RESERVED
from common.errors import InvalidRequest
from common.signing import check_secret
from common.types import (
    CustomId,
    FinishReason,
    Given,
    ItemMetadata,
    ItemState,
    JobMetadata,
    JobState,
    Message,
    ModelCard,
    SamplingParams,
    TokenIds,
)

LONGEST_DEADLINE = 366 * 86400  # seconds
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # the last second that a view can tell
MOST_TEMPLATE_KWARGS = 16_384  # bytes, as JSON
INPUTS = ("prompt", "prompt_ids", "messages")  # an item has one of them


def refuse(message: str) -> PydanticCustomError:
    """An error whose message reaches the user as it is."""
    return PydanticCustomError("refused", "{message}", {"message": message})


def _deadline(value: Any) -> datetime | float | None:
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 < value <= LONGEST_DEADLINE:
            return float(value)
        raise refuse("must be above 0 seconds from now and at most a year")
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise refuse(
            "must be an RFC 3339 time with an offset, like 2030-01-31T12:00:00Z, or seconds from "
            "now"
        )
    if moment > LATEST:
        raise refuse(f"must be at most {LATEST:%Y-%m-%dT%H:%M:%SZ}, the latest time there is here")
    return moment


DEADLINE_SCHEMA = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_DEADLINE},
        {"type": "null"},
    ]
}
# Any: told the real types, Pydantic serializes the result of serializing them once more, and warns
# that it is text. Datetime, seconds or None.
Deadline = Annotated[Any, PlainValidator(_deadline), WithJsonSchema(DEADLINE_SCHEMA)]


def _template_kwargs(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if reserved := next((name for name in RESERVED if name in value), None):
        raise refuse(f"must not have {reserved}, which is set by the server")
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > MOST_TEMPLATE_KWARGS:
        raise refuse(f"has {size:,} bytes as JSON; it may have {MOST_TEMPLATE_KWARGS:,}")
    return value


TemplateKwargs = Annotated[dict[str, JsonValue], AfterValidator(_template_kwargs)]


class Schema(Given):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


def either(*names: str, empty: tuple[Any, ...] = ("", [])) -> dict[str, Any]:
    """For a JSON Schema: that one of these fields is given, and is not `empty`; null is not
    given."""
    given: dict[str, Any] = {"not": {"enum": [None, *empty]}}
    absent: dict[str, Any] = {"type": "null"}
    return {
        "oneOf": [
            {
                "required": [name],
                "properties": {each: given if each == name else absent for each in names},
            }
            for name in names
        ]
    }


def _no_params() -> SamplingParams:
    return SamplingParams.model_validate({})


# Requests


class Target(Schema):
    """Whom to tell. Deliveries are signed with `secret`, else with the tenant's own."""

    url: str = Field(
        max_length=2048,
        description="An http or https URL.",
        examples=["https://example.com/hook"],
        json_schema_extra={"pattern": "^https?://"},
    )
    secret: str | None = Field(
        None, description="`whsec_` and the base64 of 24 to 64 random bytes."
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            good = (
                parts.scheme in ("http", "https")
                and parts.hostname
                and not parts.username
                and parts.port != 0
            )
        except ValueError:
            good = False
        if not good or not value.isascii() or any(character <= " " for character in value):
            raise refuse(
                "must be an http:// or https:// URL with a host and without user or password"
            )
        return value

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, value: str | None) -> str | None:
        try:
            return value if value is None else check_secret(value)
        except InvalidRequest as error:
            raise refuse(error.message) from None


class Webhook(Target):
    """Whom to tell of what."""

    events: tuple[Literal["job.started", "job.finished"], ...] = Field(
        ("job.finished",),
        min_length=1,
        max_length=2,
        fail_fast=True,
        description="What to tell of.",
    )

    @field_validator("events", mode="before")
    @classmethod
    def _accept_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Item(Schema):
    """One prompt: text, token ids, or the messages of a chat."""

    model_config = ConfigDict(json_schema_extra=either(*INPUTS))

    custom_id: CustomId | None = Field(
        None, description="Your own name for it; no two items of a job may share one."
    )
    prompt: str | None = Field(None, description="Text to go on from, as it is.")
    prompt_ids: TokenIds | None = Field(None, description="Token ids to go on from, as they are.")
    messages: list[Message] | None = Field(
        None, fail_fast=True, description="A chat; the model's own template renders it."
    )
    params: SamplingParams | None = Field(None, description="Overrides of the job's params.")
    chat_template_kwargs: TemplateKwargs | None = Field(
        None, description="Go over the job's; only with messages."
    )
    metadata: ItemMetadata = Field(
        {}, description="Up to 16 values of your own, handed back; 64 KiB in all."
    )
    stream: bool = Field(False, description="Tell its tokens in the job's events while it runs.")


class Limits(Schema):
    """When to stop a job early. What is finished stays."""

    tokens: int | None = Field(
        None, ge=1, le=2**53 - 1, description="Prompt and generated tokens the job may use in all."
    )
    error_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of failed items at which to stop; looked at from 20 items on.",
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        return data  # in an edit it takes a limit away; elsewhere none is what null says


class JobOptions(Schema):
    """A job without its items."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="May be left out when just one is known."
    )
    params: SamplingParams = Field(
        default_factory=_no_params, description="How to decode; items may override it."
    )
    chat_template_kwargs: TemplateKwargs = Field(
        {},
        description=(
            "Variables of the model's chat template, such as enable_thinking; for items "
            "with messages."
        ),
    )
    webhook: Webhook | None = None
    priority: int = Field(0, ge=-10, le=10, description="Higher first, among your own jobs.")
    deadline: Deadline = Field(
        None, description="RFC 3339 time or seconds from now; what is unfinished then expires."
    )
    metadata: JobMetadata = Field(
        {}, description="Up to 16 values of your own, handed back; 16 KiB in all."
    )
    limits: Limits = Field(
        default_factory=lambda: Limits.model_validate({}), description="When to stop the job early."
    )


class JobEdit(Schema):
    """Changes to a live job, one at least; what is left out stays as it is, and null takes away
    what there is."""

    # Only what was given is read; a factory keeps its default out of the specification.
    priority: Annotated[int, Field(ge=-10, le=10)] | None = Field(
        default_factory=int, description="Higher first, among your own jobs; null for 0."
    )
    deadline: Deadline = Field(
        None, description="RFC 3339 time or seconds from now; null for none."
    )
    limits: Limits | None = Field(
        default_factory=lambda: Limits.model_validate({}),
        description="Those given are set; null for none, of one or of all.",
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        return data  # it is: to be taken away

    @model_validator(mode="after")
    def _changes_something(self) -> JobEdit:
        if not self.model_fields_set:
            raise refuse("must have priority, deadline or limits")
        return self


class MoreItems(Schema):
    """Items to add to a live job."""

    model_config = ConfigDict(json_schema_extra=either("items", "prompts"))

    items: list[Item] | None = Field(None, min_length=1)
    prompts: list[str] | None = Field(
        None, min_length=1, description="Short for items that are only a prompt."
    )


class JobRequest(JobOptions):
    """A job as JSON: `items`, or `prompts` for short."""

    model_config = ConfigDict(json_schema_extra=either("items", "prompts"))

    items: list[Item] | None = Field(None, min_length=1)
    prompts: list[str] | None = Field(
        None, min_length=1, description="Short for items that are only a prompt."
    )


class CheckRequest(JobOptions):
    """A job to be checked: whatever is wrong with its items is in the answer."""

    model_config = ConfigDict(json_schema_extra=either("items", "prompts", empty=()))

    items: list[Any] | None = Field(None, description="As for a job.")
    prompts: list[Any] | None = Field(None, description="As for a job.")


class UploadOptions(JobOptions):
    """What goes with an uploaded file, as the form part `job`."""

    prompt_column: str = Field(
        "prompt", min_length=1, description="The prompts' column in a CSV or Parquet file."
    )


class Query(BaseModel):
    """Queries are text, so their numbers are read out of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class JobPage(Query):
    after: str | None = Field(None, description="A job's id: go on behind it.")
    limit: int = Field(20, ge=1, le=100)


class ItemPage(Query):
    after: int = Field(-1, ge=-1, lt=2**31, description="An item's index: go on behind it.")
    limit: int = Field(100, ge=1, le=1000)


class Wait(Query):
    wait: float = Field(
        0, ge=0, le=60, description="Seconds to wait for the job's end before answering."
    )


class EventCursor(Query):
    after: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Finished items seen already; the header Last-Event-ID goes before it.",
    )


# Answers


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
    params: dict[str, Any] = Field(
        description="The params that were given; each item's result has them complete."
    )
    chat_template_kwargs: dict[str, JsonValue] = Field({}, description="As they were given.")
    webhook: WebhookView | None
    webhooks: list[HookView]
    metadata: dict[str, Any]
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
    params: dict[str, Any]
    seed: int | None
    attempts: int
    queued_s: float | None
    run_s: float | None
    worker: str | None
    model: str
    metadata: dict[str, Any] = {}


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
