"""Closes the objects of a JSON Schema: those that list their properties and say nothing of others
get no others.

What is valid by the closed schema is valid by the open one. A model that writes by an open one may
add properties without end.
"""

from __future__ import annotations

from typing import Any

# What else may say which properties there are.
OTHERS = (
    "$ref",
    "additionalProperties",
    "anyOf",
    "dependentSchemas",
    "minProperties",
    "oneOf",
    "patternProperties",
    "unevaluatedProperties",
)
# Where schemas stand inside a schema: by name, in a list, and alone.
NAMED = ("$defs", "definitions", "properties")
LISTED = ("anyOf", "oneOf", "prefixItems")
ALONE = ("additionalProperties", "items")


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with closed objects; as it is where one combines objects with `allOf`."""
    return schema if _combines(schema) else _closed(schema)


def _combines(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if "allOf" in each:
                return True
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return False


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key in NAMED:
        if isinstance(inside := found.get(key), dict):
            found[key] = {name: _closed(each) for name, each in inside.items()}
    for key in LISTED:
        if isinstance(inside := found.get(key), list):
            found[key] = [_closed(each) for each in inside]
    for key in ALONE:
        if key in found:
            found[key] = _closed(found[key])
    if not any(key in found for key in OTHERS) and _lists_all(found):
        found["additionalProperties"] = False
    return found


def _lists_all(schema: dict[str, Any]) -> bool:
    """Whether it lists properties, all required ones among them."""
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return False
    return all(isinstance(name, str) and name in properties for name in required)
