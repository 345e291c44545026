"""The models of the native API's requests: validation, `/openapi.json` and the form's fields come
from them.

Requests are strict: a field is honoured or refused, and numbers are never read out of text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from common.errors import InvalidRequest
from common.params import SamplingParams, TokenIds
from common.signing import check_secret
from web.schemas.base import Deadline, Query, Schema, TemplateKwargs, either, refuse
from web.schemas.fields import CustomId, ItemMetadata, JobMetadata, Message

INPUTS = ("prompt", "prompt_ids", "messages")  # an item has one of them


def _no_params() -> SamplingParams:
    return SamplingParams.model_validate({})


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
