"""Bounds of what a schema asks of one value at once: llguidance multiplies the states of patterns
and of `multipleOf` that it has to combine, and may never come to an end.

The schema is one that `schema` wrote.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

MOST_PATTERNS = 4  # of one value, formats among them
MOST_MULTIPLE = 10_000  # the least common multiple, without its point

APART = ("anyOf", "oneOf", "$ref")  # what is combined with the keywords beside it


class TooMuchAtOnce(ValueError):
    """The message says what is combined too often."""


def check_intersections(schema: dict[str, Any]) -> None:
    """
    Raises:
        TooMuchAtOnce
    """
    several = list(_schemas(schema))
    if not any(_combines(each) for each in several):
        return
    multiples = {each["multipleOf"] for each in several if "multipleOf" in each}
    if len(multiples) > 1 and _together(multiples) > MOST_MULTIPLE:
        raise TooMuchAtOnce(
            f"combines multipleOf whose least common multiple, without its point, is above "
            f"{MOST_MULTIPLE:,}"
        )
    counted = _Patterns(schema.get("$defs", {}))
    if max(map(counted.of, several)) > MOST_PATTERNS:
        raise TooMuchAtOnce(f"combines more than {MOST_PATTERNS} patterns or formats of one value")


def circle(defs: dict[str, Any]) -> str | None:
    """A definition that leads back to itself, with nothing of a text between: it says nothing."""
    left = {name: set(_direct(schema)) for name, schema in defs.items()}
    while done := [name for name, others in left.items() if not others & left.keys()]:
        for name in done:
            del left[name]
    return next(iter(left), None)


def _direct(schema: Any) -> Iterator[str]:
    """The definitions that a value of this schema is compared with itself."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix("#/$defs/")
        for keyword in ("allOf", "anyOf", "oneOf"):
            for each in schema.get(keyword, ()):
                yield from _direct(each)


def _schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all that are in it."""
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            for keyword, value in each.items():
                if keyword in ("properties", "patternProperties", "$defs"):
                    waiting += value.values()
                elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
                    waiting += value
                elif keyword in ("items", "additionalProperties"):
                    waiting.append(value)


def _combines(schema: dict[str, Any]) -> bool:
    return "allOf" in schema or (
        len(schema.keys() - {"$defs"}) > 1 and any(keyword in schema for keyword in APART)
    )


def _together(multiples: set[float]) -> int:
    numbers = [Decimal(repr(each)) for each in multiples]
    places = max(max(0, -int(number.normalize().as_tuple().exponent)) for number in numbers)
    return math.lcm(*(int(number.scaleb(places)) for number in numbers))


class _Patterns:
    """Counts the patterns of a value, as far as it matters."""

    def __init__(self, defs: dict[str, Any]):
        self._known = dict.fromkeys(defs, 0)
        for _ in range(MOST_PATTERNS + 1):  # definitions may lead to each other
            for name in reversed(defs):
                self._known[name] = self.of(defs[name])

    def of(self, schema: Any) -> int:
        if not isinstance(schema, dict):
            return 0
        found = ("pattern" in schema) + ("format" in schema)
        found += sum(map(self.of, schema.get("allOf", ())))
        for keyword in ("anyOf", "oneOf"):
            found += max(map(self.of, schema.get(keyword, ())), default=0)
        if "$ref" in schema:
            found += self._known[schema["$ref"].removeprefix("#/$defs/")]
        return min(found, MOST_PATTERNS + 1)
