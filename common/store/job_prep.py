"""How a job's prompts are made of its items, and which columns these had.

Kept in `job:{id}:prep`, a hash whose values are JSON: lists of jobs do not read it, and a worker
reads only what it needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, cast

from typing_extensions import TypedDict

from common.store.records import reading
from common.types import JsonObject

MOST_COLUMNS = 1000  # of a job, over all its items


class TemplateDict(TypedDict, total=False):
    """It has one of the two."""

    prompt: str
    messages: list[dict[str, str]]


class Truncate(TypedDict, total=False):
    """`to` is always there."""

    to: int | Literal["fit"]
    keep: Literal["start", "end", "both"]
    variable: str


class JobPrep(TypedDict, total=False):
    """Empty for a job whose items are prompts used as they are, with nothing beside them. Items
    that are appended add to `columns` only."""

    template: TemplateDict
    clean: list[str]
    truncate: Truncate
    preset: str  # with its version: name@3
    bad_rows: Literal["fail"]  # where rows that cannot run stay, to fail
    columns: list[str]  # of the input, in order; of JSON items in order of first appearance
    types: dict[str, str]  # of a Parquet file: column -> Arrow type, as text
    choices: bool  # some of its items choose by probabilities, which rows tell then
    continuations: bool  # some of its items have texts scored
    reasoning: bool  # some of its items are chats of a model that thinks first
    json_output: bool  # some of its items are asked for JSON, so that rows say whether it is
    mapped: JsonObject  # as the request mapped fields to columns: {"custom_id": "id", …}


# What a worker reads of it: the names and types of a thousand columns are of no use there.
WORKERS_NEED = ("template", "clean", "truncate")


def stored_prep(prep: JobPrep) -> dict[str, str]:
    """The fields of the record."""
    return {
        name: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        for name, value in prep.items()
    }


def parse_prep(job_id: str, stored: Mapping[str, bytes | None]) -> JobPrep:
    """What `stored_prep` made.

    Raises:
        Unreadable: a value is no JSON.
    """
    with reading(f"the preparation of {job_id}"):
        found: dict[str, Any] = {
            name: json.loads(value) for name, value in stored.items() if value is not None
        }
    return cast("JobPrep", found)
