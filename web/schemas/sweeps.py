"""The models of sweeps: jobs of the same items that differ in their decoding parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, JsonValue

from common.given import refuse
from common.params import OTHER_NAMES, SamplingParams
from common.types import JobState
from web.schemas.answers import Counts, Flags, Usage
from web.schemas.base import Schema
from web.schemas.requests import ItemsRequest, JobOptions, UploadOptions

MOST_COMBINATIONS = 64


def _varied(values: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for name, several in values.items():
        if name not in SamplingParams.model_fields:
            known = OTHER_NAMES.get(name)
            hint = f"is called {known} here" if known else "is no decoding parameter"
            raise refuse(f"has {name[:64]!r}, which {hint}")
        if not several:
            raise refuse(f"has no value for {name}; give at least one")
    count = combinations(values)
    if count > MOST_COMBINATIONS:
        raise refuse(f"has {count:,} combinations; it may have {MOST_COMBINATIONS}")
    return values


def combinations(varied: Mapping[str, list[Any]]) -> int:
    """How many there are: each value of one with each value of the others."""
    return math.prod(map(len, varied.values()))


class Swept(Schema):
    """What a sweep has beside a job."""

    sweep: Annotated[dict[str, list[JsonValue]], Field(min_length=1), AfterValidator(_varied)] = (
        Field(
            description="Values of decoding parameters to be tried, each with each: "
            '`{"temperature": [0, 0.7], "stop": [["\\n"], ["."]]}` makes four jobs. There may '
            "be 64 combinations.",
            examples=[{"temperature": [0, 0.7], "stop": [["\n"], ["."]]}],
        )
    )


class SweepOptions(Swept, JobOptions):
    """A sweep without its items."""


class SweepRequest(Swept, ItemsRequest):
    """A sweep as JSON: a job, and what is varied."""


class SweepUpload(Swept, UploadOptions):
    """The form part `job` of a sweep, sent with an uploaded file."""


AnySweep = SweepOptions | SweepUpload


class SweepJobView(BaseModel):
    """The job of one combination; `GET /v1/jobs/{id}` tells all of it."""

    id: str
    params: dict[str, JsonValue] = Field(description="The combination: what the sweep varied.")
    status: JobState
    flags: Flags
    counts: Counts
    usage: Usage


class SweepView(BaseModel):
    """A sweep as users see it. Jobs that were deleted are in it no more."""

    id: str
    status: JobState = Field(
        description="`queued` until one of its jobs runs; when all are over `completed`, or else "
        "`cancelled` or `expired` where one of them is."
    )
    model: str
    sweep: dict[str, list[JsonValue]] = Field(description="The values that are tried.")
    metadata: dict[str, JsonValue]
    created_at: datetime
    jobs: list[SweepJobView]
    links: dict[str, str]


class SweepList(BaseModel):
    data: list[SweepView]
    has_more: bool
    after: str | None = Field(description="Give this as `after` for the next page.")
