"""The request that runs items of a job again, as another job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from common.given import refuse
from common.params import SamplingParams
from web.schemas.base import Schema
from web.schemas.metrics import Metrics
from web.schemas.preparation import PresetName, Template

ErrorCode = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class RerunRequest(Schema):
    """Which items of the job run again, and what is different. What is not given is as in the
    job."""

    rows: Literal["all", "failed", "unfinished", "succeeded"] = Field(
        "all",
        description="`failed` and `unfinished` (cancelled or expired) need a job that is over.",
    )
    errors: list[ErrorCode] = Field(
        [],
        max_length=100,
        fail_fast=True,
        description="With `failed`: only items with one of these error codes.",
    )
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="Another model."
    )
    params: SamplingParams = Field(
        default_factory=lambda: SamplingParams.model_validate({}),
        description="Go over the job's, by name.",
    )
    template: Template | None = Field(
        None, description="In place of the job's; the items must have `vars`."
    )
    preset: PresetName | None = Field(
        None, description="What it says goes over the job's, and under `params` and `template`."
    )
    metrics: Metrics = Field([], description="In place of the job's.")
    evaluate: bool = Field(True, description="In place of the job's: as for a job.")
    override_items: bool = Field(
        False, description="Drop the items' own parameters of the names in `params`, too."
    )

    @model_validator(mode="after")
    def _errors_are_of_failed_items(self) -> RerunRequest:
        if self.errors and self.rows != "failed":
            raise refuse('has errors, which only failed items have: say "rows": "failed"')
        return self
