"""The request for a job that is made of the rows of other jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from web.schemas.base import Schema, either
from web.schemas.requests import FILE_FIELDS, ItemsRequest, JobOptions

JobId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Judge = Literal["pairs", "scale"]


class InputFromRequest(Schema):
    """The jobs whose rows become the job's items; the job waits until they are over."""

    jobs: list[JobId] = Field(
        min_length=1,
        max_length=2,
        fail_fast=True,
        description="One job, whose outputs are `{{output}}`, or two, whose outputs are "
        "`{{output_a}}` and `{{output_b}}`: their rows are matched by custom_id if all have one, "
        "else by position.",
    )
    rows: Literal["succeeded"] = Field(
        "succeeded", description="Those that succeeded, of two jobs in both."
    )


class Derived(Schema):
    """What a job of other jobs' rows has in place of items."""

    input_from: InputFromRequest | None = Field(
        None, description="Other jobs, of whose rows the items are made by the job's template."
    )
    judge: Judge | None = Field(
        None,
        description="Only with input_from. `pairs`: the job judges which of two outputs is better; "
        "it has two items for each row, in both orders, which answer A, B or tie. `scale`: it "
        "grades the outputs of one job, by labels that are numbers, 1 to 5 if it has no "
        "`params.output`.",
    )


class DerivedOptions(Derived, JobOptions):
    """A job that is made of other jobs' rows."""


class JobRequest(Derived, ItemsRequest):
    """A job as JSON, with `items`, `prompts`, `input_file` or `input_from`."""

    model_config = ConfigDict(
        json_schema_extra=either(
            *("items", "prompts", "input_file", "input_from"),
            only_with={"input_file": FILE_FIELDS, "input_from": ["judge"]},
        )
    )
