"""Finds the part of a schema that llguidance cannot use, and says why in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

LONGEST_SEARCH = 0.1  # seconds

OVERLAP = (
    "has alternatives of oneOf that may overlap: tell each apart by a required property with its "
    "own const or enum, or use anyOf"
)
# What llguidance says, in its words and in ours.
REASONS = (
    ("oneOf constraints", OVERLAP),
    ("min/maxProperties", "has minProperties or maxProperties beside properties not required"),
    ("not disjoint", "has patternProperties that may match the same name"),
    ("disjoint", "has patternProperties that are too complex to tell apart"),
    ("regex is empty", "combines patterns and lengths in a way that is too complex"),
    ("schema too large", "is too large when its parts are combined"),
    ("Regex is empty", "can never be valid: no text has its patterns, formats and lengths at once"),
    ("regex parse error", "has an expression that is not supported"),
    ("Unsatisfiable schema: ", "can never be valid: "),
    ("NoExtension", "allows no text"),
)
TOO_COMPLEX = ("fuel", "too big", "too complex", "items; max", "too many", "precomputation")


def reason(message: str) -> str:
    """Why llguidance refuses a grammar."""
    line = message.partition("\n")[0].removesuffix(" <non-verbose/>")
    for theirs, ours in REASONS:
        if theirs in line:
            return ours + (line.partition(theirs)[2][:160] if ours.endswith(": ") else "")
    if any(words in line for words in TOO_COMPLEX):
        return "is too complex"
    return f"cannot be used: {line[:160]}"


def place_of_blame(
    schema: dict[str, Any], message: str, error_of: Callable[[dict[str, Any]], str | None]
) -> str:
    """A JSON pointer to the smallest part of a schema that is refused with the same message.
    `error_of` tells with which a schema is."""
    place, end = "#", time.monotonic() + LONGEST_SEARCH
    defs = schema.get("$defs", {})
    inside: Any = schema
    while True:
        for step, part in _parts(inside):
            if time.monotonic() > end:
                return place
            if isinstance(part, dict) and error_of({**part, "$defs": defs}) == message:
                place, inside = f"{place}/{step}", part
                break
        else:
            return place


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword, value in schema.items():
        if keyword in ("properties", "patternProperties", "$defs"):
            yield from ((f"{keyword}/{name}", part) for name, part in value.items())
        elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            yield from ((f"{keyword}/{at}", part) for at, part in enumerate(value))
        elif keyword in ("items", "additionalProperties"):
            yield keyword, value
