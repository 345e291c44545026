"""The models of presets: what a preset says, and how the API shows it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from common.given import refuse
from common.params import SamplingParams
from common.printable import CONTROL
from web.schemas.base import Schema
from web.schemas.metrics import MetricEntry, Metrics
from web.schemas.preparation import Clean, Reference, Template, Truncation, Variables

LONGEST_NAME = 64  # characters
MOST_EXAMPLES = 20
MOST_BODY = 64 * 2**10  # bytes of a preset as JSON
VERSION = re.compile(r"[1-9][0-9]{0,8}")


def name_fault(name: str) -> str | None:
    """Why this cannot be the name of a preset."""
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"must have 1 to {LONGEST_NAME} characters"
    if not name.isprintable() or CONTROL.search(name) or name != name.strip():
        return "must be printable, and neither begin nor end with a space"
    if any(character in name for character in "@/\\?#%"):
        return "must not contain any of @ / \\ ? # %, which have a meaning in addresses"
    if set(name) == {"."}:
        return "must not be dots alone"
    return None


def _one_line(text: str) -> str:
    if CONTROL.search(text):
        raise refuse("must be one line, without control characters")
    return text


def _no_params() -> SamplingParams:
    return SamplingParams.model_validate({})


class Example(Schema):
    """A row that shows what the preset is for; it can be sent as an item."""

    vars: Variables = Field(description="Values for the template.")
    reference: Reference | None = Field(None, description="What a good answer would be.")


class PresetBody(Schema):
    """What a preset says. Its version never changes; another PUT makes another version."""

    task: Annotated[
        str, StringConstraints(min_length=1, max_length=64), AfterValidator(_one_line)
    ] = Field(description="What kind of work it is for, in a word: `summarise`.")
    title: Annotated[
        str, StringConstraints(min_length=1, max_length=120), AfterValidator(_one_line)
    ] = Field(description="What it does, for people who choose one.")
    template: Template | None = Field(None, description="As for a job.")
    params: SamplingParams = Field(
        default_factory=_no_params,
        description="Decoding parameters; a job's own go over them, name by name.",
    )
    clean: Clean = Field([], description="As for a job.")
    truncate: Truncation | None = Field(None, description="As for a job.")
    metrics: Metrics = Field([], description="Metrics that suit the task, as for a job.")
    examples: Annotated[list[Example], Field(max_length=MOST_EXAMPLES, fail_fast=True)] = Field(
        [], description="Rows to try it with."
    )


class PresetMade(BaseModel):
    """Which version of a preset holds what was sent."""

    name: str
    version: int


class PresetHead(BaseModel):
    """A preset in the list: its newest version."""

    name: str
    version: int = Field(description="The newest; a job that names no version gets this one.")
    task: str
    title: str
    builtin: bool = Field(description="It comes with promptmill and cannot be changed.")
    created_at: datetime | None = Field(description="When this version was made.")


class PresetList(BaseModel):
    """Your own presets by name, then the built-in ones."""

    data: list[PresetHead]


class PresetView(PresetHead):
    """A preset as it is written: a job with these fields does the same."""

    versions: list[int] = Field(description="All versions that there are, the oldest first.")
    template: dict[str, Any] | None
    params: dict[str, Any]
    clean: list[str]
    truncate: dict[str, Any] | None
    metrics: list[MetricEntry]
    examples: list[dict[str, Any]]
