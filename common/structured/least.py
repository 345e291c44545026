"""How many characters the shortest JSON of a schema has at least.

A lower bound: what would be hard to tell counts as little. The schema is one that `schema` wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from common.structured.formats import FORMATS
from common.structured.keywords import TYPES
from common.structured.refusal import FOREVER

MOST_ROUNDS = 8  # in which references to each other come to rest


def least_characters(
    schema: dict[str, Any], patterns: Mapping[str, int]
) -> tuple[int, frozenset[str]]:
    """The bound, `FOREVER` where no text ends; and the definitions of which none ends. `patterns`
    are characters of the shortest match, by the expression."""
    defs = schema.get("$defs", {})
    known = dict.fromkeys(defs, FOREVER)
    for _ in range(MOST_ROUNDS):
        before = dict(known)
        for name in reversed(defs):
            known[name] = _Least(known, patterns).of(defs[name])
        if known == before:
            endless = frozenset(name for name, least in known.items() if least == FOREVER)
            return _Least(known, patterns).of(schema), endless
    return 1, frozenset()


class _Least:
    def __init__(self, refs: Mapping[str, int], patterns: Mapping[str, int]):
        self._refs, self._patterns = refs, patterns

    def of(self, schema: Any, within: frozenset[str] = frozenset(TYPES)) -> int:
        """Of a schema whose values have one of the types `within`."""
        if isinstance(schema, bool):
            return 1 if schema else FOREVER
        types = within.intersection(*map(_types, [schema, *schema.get("allOf", ())]))
        bounds = [min((self._of_type(name, schema) for name in types), default=FOREVER)]
        alternatives = (schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema)
        bounds += (min(map(self.of, each)) for each in alternatives)
        bounds += (self.of(each, types) for each in schema.get("allOf", ()))
        if "$ref" in schema:
            bounds.append(self._refs[schema["$ref"].removeprefix("#/$defs/")])
        if "enum" in schema:
            bounds.append(min(map(_written, schema["enum"])))
        if "const" in schema:
            bounds.append(_written(schema["const"]))
        return min(FOREVER, max(bounds))

    def _of_type(self, name: str, schema: dict[str, Any]) -> int:
        match name:
            case "null" | "boolean":
                return 4
            case "string":
                pattern = self._patterns.get(schema.get("pattern", ""), 0)
                known = schema.get("format")
                least = FORMATS[known].least if known else 0
                return 2 + max(schema.get("minLength", 0), pattern, least)
            case "array":
                return self._of_array(schema)
            case "object":
                return self._of_object(schema)
        return 1

    def _of_array(self, schema: dict[str, Any]) -> int:
        count = schema.get("minItems", 0)
        first = schema.get("prefixItems", [])[:count]
        rest = count - len(first)
        inside = sum(map(self.of, first)) + (
            self.of(schema.get("items", True)) * rest if rest else 0
        )
        return 2 + inside + max(0, count - 1)

    def _of_object(self, schema: dict[str, Any]) -> int:
        required = schema.get("required", ())
        properties, patterned = schema.get("properties", {}), schema.get("patternProperties")
        other = 1 if patterned else self.of(schema.get("additionalProperties", True))
        inside = sum(
            _text(name) + 1 + (self.of(properties[name]) if name in properties else other)
            for name in required
        )
        more = max(0, schema.get("minProperties", 0) - len(required))
        return 2 + inside + more * 4 + max(0, len(required) + more - 1)


def _types(schema: Any) -> frozenset[str]:
    """The types that a schema names itself. Some numbers are integers."""
    given = schema.get("type", TYPES) if isinstance(schema, dict) else TYPES
    names = {given} if isinstance(given, str) else set(given)
    return frozenset(names | {"integer"} if "number" in names else names)


def _text(value: str) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _written(value: Any) -> int:
    """Characters of a constant; of a number at least one."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return 2 + sum(map(_written, value)) + max(0, len(value) - 1)
    if isinstance(value, dict):
        inside = sum(_text(name) + 1 + _written(inner) for name, inner in value.items())
        return 2 + inside + max(0, len(value) - 1)
    return 4 if value is None or value is True else 5 if value is False else 1
