"""Bounds of numbers in schemas hold to the last digit."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from common.errors import InvalidRequest
from common.structured.grammar import json_grammar
from common.structured.guidance import Matcher, byte_guide

BOUNDS = (None, 0, 1, -1, 0.5, -0.5, 10, 0.2, 12.5, -1.5, -0.0)
TEXTS = (
    *("0", "-0", "0.0", "-0.0", "1", "1.0", "-1", "-1.0", "0.5", "0.50", "-0.5", "0.25", "0.2"),
    *("0.49", "0.51", "-0.51", "-1.2", "9", "9.99", "10", "10.0", "12.4", "12.5", "12.6", "99"),
)


def accepts(begun: Matcher, text: str) -> bool:
    matcher = begun.copy()
    return all(matcher.accept(byte) for byte in text.encode()) and matcher.can_end


def allows(schema: dict[str, Any], text: str) -> bool:
    """Whether a number is within the bounds of the schema."""
    value = Decimal(text)
    return (
        value >= Decimal(repr(schema.get("minimum", -1e9)))
        and value <= Decimal(repr(schema.get("maximum", 1e9)))
        and value > Decimal(repr(schema.get("exclusiveMinimum", -1e9)))
        and value < Decimal(repr(schema.get("exclusiveMaximum", 1e9)))
        and (schema["type"] == "number" or value == value.to_integral_value())
    )


@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize("lower", ["minimum", "exclusiveMinimum"])
@pytest.mark.parametrize("upper", ["maximum", "exclusiveMaximum"])
def test_no_number_is_written_that_is_out_of_bounds(kind: str, lower: str, upper: str) -> None:
    guide = byte_guide()
    for low, high in product(BOUNDS, BOUNDS):
        bounds = {lower: low, upper: high}
        schema = {"type": kind, **{k: v for k, v in bounds.items() if v is not None}}
        inside = [text for text in TEXTS if allows(schema, text)]
        try:
            begun = guide.matcher(json_grammar(schema, "schema"))
        except InvalidRequest:
            assert inside == [], schema
            continue
        taken = [text for text in TEXTS if accepts(begun, text)]
        assert set(taken) <= set(inside), schema
        # What is left out is only another way to write a number.
        assert set(map(Decimal, taken)) == set(map(Decimal, inside)), schema


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("minimum", 1e20),
        ("maximum", -1e300),
        ("multipleOf", 0),
        ("multipleOf", 1e-10),
        ("multipleOf", 99_991),
        ("const", 2**53 + 1),
        ("enum", [12345678901234567890]),
    ],
)
def test_a_number_that_would_not_be_held_exactly_is_refused(keyword: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as error:
        json_grammar({"type": "number", keyword: value}, "schema")
    assert error.value.code == "invalid_grammar" and f"#/{keyword}" in error.value.message


@pytest.mark.parametrize(
    ("schema", "text", "holds"),
    [
        ({"maximum": 2**63 - 1}, str(2**63 - 1024), True),
        ({"maximum": 2**63 - 1}, str(2**63), False),
        ({"minimum": 2**53 + 1}, str(2**53), False),
        ({"minimum": 2**53 + 1}, str(2**53 + 2), True),
        ({"maximum": 1e300}, "7", True),
    ],
)
def test_a_bound_that_is_not_exact_is_made_tighter(
    schema: dict[str, Any], text: str, holds: bool
) -> None:
    begun = byte_guide().matcher(json_grammar({"type": "integer", **schema}, "schema"))
    assert accepts(begun, text) == holds


@pytest.mark.parametrize(
    ("schema", "inside", "outside"),
    [
        ({"exclusiveMinimum": 0, "maximum": 1e-10}, "0.0000000001", "0"),
        ({"minimum": -1e-10, "exclusiveMaximum": 0}, "-0.0000000001", "0"),
        ({"exclusiveMinimum": 1, "maximum": 1.0000000001}, "1.0000000001", "1"),
    ],
)
def test_narrow_bounds_are_held(schema: dict[str, Any], inside: str, outside: str) -> None:
    begun = byte_guide().matcher(json_grammar({"type": "number", **schema}, "schema"))
    assert accepts(begun, inside) and not accepts(begun, outside)


def test_bounds_that_leave_no_number_are_refused_with_the_numbers_that_were_given() -> None:
    schema = {"type": "number", "exclusiveMinimum": 1, "maximum": 1}
    with pytest.raises(InvalidRequest, match=r"\(1\).*\(1\)"):
        byte_guide().matcher(json_grammar(schema, "schema"))
