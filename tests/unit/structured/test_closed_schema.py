"""Objects that list their properties get no others, unless something else speaks of them."""

from __future__ import annotations

from typing import Any

import pytest

from common.structured.closed_schema import closed

POINT: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}}
CLOSED = POINT | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (POINT, CLOSED),
        ({"items": POINT}, {"items": CLOSED}),
        (
            {"properties": {"properties": POINT}},
            {"properties": {"properties": CLOSED}, "additionalProperties": False},
        ),
        ({"anyOf": [POINT, {"type": "null"}]}, {"anyOf": [CLOSED, {"type": "null"}]}),
        (
            {"$ref": "#/$defs/p", "$defs": {"p": POINT}},
            {"$ref": "#/$defs/p", "$defs": {"p": CLOSED}},
        ),
    ],
)
def test_objects_are_closed_wherever_they_are(schema: Any, expected: Any) -> None:
    before = repr(schema)
    assert closed(schema) == expected
    assert repr(schema) == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {},
        POINT | {"additionalProperties": True},
        POINT | {"additionalProperties": {"type": "string"}},
        POINT | {"patternProperties": {"^y": {}}},
        POINT | {"required": ["y"]},
        POINT | {"required": [["x"]]},
        POINT | {"minProperties": 2},
        POINT | {"anyOf": [{"required": ["x"]}]},
        {"allOf": [POINT, POINT]},
        {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"allOf": [POINT]}}},
        {"const": POINT},
        {"enum": [POINT]},
        {"properties": 5},
        {"items": True},
    ],
)
def test_what_speaks_of_other_properties_stays_as_it_is(schema: Any) -> None:
    assert closed(schema) == schema
