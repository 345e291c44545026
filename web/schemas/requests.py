"""The models of the native API's requests. They validate, and `/openapi.json` and the form's fields
are made from them.

Requests are strict: a field is honoured or refused, and numbers are never read out of text.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from common.given import refuse
from common.params import SamplingParams, TokenIds, Whole
from common.structured.tools import ToolSet
from web.schemas.base import Deadline, Schema, TemplateKwargs, either
from web.schemas.fields import Continuations, CustomId, ItemMetadata, JobMetadata
from web.schemas.messages import ItemMessage
from web.schemas.metrics import Metrics
from web.schemas.preparation import Clean, PresetName, Reference, Template, Truncation, Variables
from web.schemas.tables import TableOptions
from web.schemas.webhooks import Webhook

INPUTS = ("prompt", "prompt_ids", "messages")  # an item has one of them


# The job's template decides which of the two an item must be.
_ONE_INPUT_OR_VARS: JsonDict = {
    "anyOf": [
        either(*INPUTS),
        {"required": ["vars"], "properties": {name: {"type": "null"} for name in INPUTS}},
    ]
}


def _no_params() -> SamplingParams:
    return SamplingParams.model_validate({})


class Item(Schema):
    """One prompt: text, token ids, the messages of a chat, or variables of the job's template.

    It has one of `prompt`, `prompt_ids` and `messages`; where the job has a template, `vars` and
    none of them.
    """

    model_config = ConfigDict(json_schema_extra=_ONE_INPUT_OR_VARS)

    custom_id: CustomId | None = Field(
        None, description="Your own id of the item, unique in the job."
    )
    prompt: str | None = Field(None, description="Text to continue, used unchanged.")
    prompt_ids: TokenIds | None = Field(None, description="Token ids to continue.")
    messages: list[ItemMessage] | None = Field(
        None, fail_fast=True, description="A chat, rendered by the model's own template."
    )
    tools: ToolSet | None = Field(
        None, description="Functions that the answer may call; only with messages."
    )
    vars: Variables | None = Field(
        None,
        description="Values for the job's template, and whatever else is to come back with the "
        "result: up to 200 names of 256 characters, 1 MiB as JSON.",
    )
    reference: Reference | None = Field(
        None, description="What the output is to be compared with: a text, or up to 16."
    )
    continuations: Continuations | None = Field(
        None, description="Up to 64 texts to score behind the prompt; nothing is generated."
    )
    params: SamplingParams | None = Field(None, description="Parameters that override the job's.")
    chat_template_kwargs: TemplateKwargs | None = Field(
        None, description="Variables that override the job's; only with messages."
    )
    metadata: ItemMetadata = Field(
        {}, description="Up to 16 values of your own, returned with the item; 64 KiB in all."
    )
    stream: bool = Field(False, description="Send its tokens in the job's events while it runs.")


class Limits(Schema):
    """When to stop a job early. Finished items keep their results."""

    tokens: Annotated[int, Field(ge=1, le=2**53 - 1), Whole] | None = Field(
        None,
        description="Prompt and generated tokens that the job may use in all.",
    )
    error_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of failed items at which to stop; checked once 20 items are finished.",
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        return data  # kept: in an edit, null removes a limit; elsewhere it means no limit


class JobOptions(Schema):
    """A job without its items."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="May be left out if the server knows only one."
    )
    params: SamplingParams = Field(
        default_factory=_no_params, description="Decoding parameters; items may override them."
    )
    chat_template_kwargs: TemplateKwargs = Field(
        {},
        description=(
            "Variables of the model's chat template, such as enable_thinking; for items "
            "with messages."
        ),
    )
    template: Template | None = Field(
        None, description="What prompts are made of; items then have `vars`."
    )
    clean: Clean = Field(
        [],
        description="What is cleaned before the prompt is made: the variables, or the prompt where "
        "there is no template. Always in this order: encoding, unicode, html, controls, "
        "whitespace.",
    )
    truncate: Truncation | None = Field(
        None, description="How a variable, or the prompt, is cut that is too long."
    )
    preset: PresetName | None = Field(
        None, description="A preset by name, or name@version; the job's own fields go over it."
    )
    metrics: Metrics = Field(
        [],
        description="What its outputs are scored by when it ends. If none is given, and items have "
        "a reference: `chrf`, `rouge_l`, `token_f1`, `exact_match` and `length_tokens`.",
    )
    evaluate: bool = Field(True, description="False: nothing is scored when the job ends.")
    webhook: Webhook | None = None
    priority: Annotated[int, Whole] = Field(
        0, ge=-10, le=10, description="Jobs with a higher priority run first, among your own."
    )
    deadline: Deadline = Field(
        None, description="RFC 3339 time or seconds from now; items unfinished by then expire."
    )
    metadata: JobMetadata = Field(
        {}, description="Up to 16 values of your own, returned with the job; 16 KiB in all."
    )
    limits: Limits = Field(
        default_factory=lambda: Limits.model_validate({}), description="When to stop the job early."
    )


class JobEdit(Schema):
    """Changes to a job, at least one; of a job that is over only its metadata. A field that is left
    out stays as it is; null removes its value."""

    # Only fields that were given are read. Defaults from factories do not appear in /openapi.json.
    priority: Annotated[int, Field(ge=-10, le=10), Whole] | None = Field(
        default_factory=int, description="As for a job; null for 0."
    )
    deadline: Deadline = Field(
        None, description="RFC 3339 time or seconds from now; null for none."
    )
    limits: Limits | None = Field(
        default_factory=lambda: Limits.model_validate({}),
        description="The given limits are set; null removes one limit, or all.",
    )
    metadata: JobMetadata | None = Field(
        default_factory=dict, description="Replaces all of it, also of a job that is over."
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        return data  # kept: null means that a value is to be removed

    @model_validator(mode="after")
    def _changes_something(self) -> JobEdit:
        if not self.model_fields_set:
            raise refuse("must have priority, deadline, limits or metadata")
        return self


class MoreItems(Schema):
    """Items to add to an unfinished job."""

    model_config = ConfigDict(json_schema_extra=either("items", "prompts"))

    items: list[Item] | None = Field(None, min_length=1)
    prompts: list[str] | None = Field(
        None, min_length=1, description="Short form of items that have only a prompt."
    )


class UploadOptions(JobOptions, TableOptions):
    """The form part `job`, sent with an uploaded file."""


def keeps_bad_rows(options: JobOptions) -> bool:
    """Whether rows that cannot run stay in the job, to fail there."""
    return isinstance(options, UploadOptions) and options.bad_rows == "fail"


# How a file is read; without a file they would mean nothing.
FILE_FIELDS = tuple(TableOptions.model_fields)
FileId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
INPUT_FILE = "A file of `POST /v1/files` with the purpose `input`: the items, as in an upload."


class InputFile(Schema):
    """The field that names a stored file, by itself."""

    input_file: FileId


class ItemsRequest(UploadOptions):
    """A job as JSON, with `items`, `prompts` or `input_file`."""

    model_config = ConfigDict(
        json_schema_extra=either(
            "items", "prompts", "input_file", only_with={"input_file": FILE_FIELDS}
        )
    )

    items: list[Item] | None = Field(None, min_length=1)
    prompts: list[str] | None = Field(
        None, min_length=1, description="Short form of items that have only a prompt."
    )
    input_file: FileId | None = Field(None, description=INPUT_FILE)


class CheckRequest(UploadOptions):
    """A job to be checked. Errors of its items are returned in the answer."""

    model_config = ConfigDict(
        json_schema_extra=either(
            "items", "prompts", "input_file", empty=(), only_with={"input_file": FILE_FIELDS}
        )
    )

    items: list[Any] | None = Field(None, description="As for a job.")
    prompts: list[Any] | None = Field(None, description="As for a job.")
    input_file: FileId | None = Field(None, description=INPUT_FILE)
