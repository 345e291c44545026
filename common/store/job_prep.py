"""How a job's prompts are made of its items, and which columns these had, as the store keeps it:
JSON in `job:{id}:prep`."""

from __future__ import annotations

from typing import Literal, TypedDict

from common.types import JsonObject


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
    """Empty for a job whose items are prompts used as they are, with nothing beside them."""

    template: TemplateDict
    clean: list[str]
    truncate: Truncate
    preset: str  # with its version: name@3
    columns: list[str]  # of the input, in order; of JSON items in order of first appearance
    types: dict[str, str]  # of a Parquet file: column -> Arrow type, as text
    mapped: JsonObject  # as the request mapped fields to columns: {"custom_id": "id", …}
