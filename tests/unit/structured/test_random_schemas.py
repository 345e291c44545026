"""Schemas put together at random from everything that is honoured: their texts are valid too."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema_rs
import pytest

from common.errors import InvalidRequest
from common.structured.formats import FORMATS
from common.structured.grammar import json_grammar
from tests.support.grammar_walk import byte_walker
from tests.support.schemas import Schema

NAMES = ("a", "b", "c", "é", "x y", "a\nb")
PATTERNS = ("^a", "b$", "^[a-c]{2,4}$", "x", "^\\d+\\.\\d$", "^(a|b)*c$")
VALUES = ("a", "ab", 1, 2.5, None, True, {"a": 1}, [1], {"b": [1, {"c": "d"}]}, -0.5)


def composed(rng: random.Random, depth: int) -> Schema:
    if depth <= 0 or rng.random() < 0.35:
        return rng.choice((text, number, constant, types))(rng)
    kind = rng.choice(("object", "object", "array", "anyOf", "oneOf", "allOf", "$ref"))
    if kind == "object":
        return an_object(rng, depth - 1)
    if kind == "array":
        return an_array(rng, depth - 1)
    if kind == "$ref":
        return {"$ref": "#/$defs/r"}
    beside = composed(rng, 0) if rng.random() < 0.2 else {}
    return {**beside, kind: [composed(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


def text(rng: random.Random) -> Schema:
    least = rng.randint(0, 4)
    return rng.choice(
        (
            {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 5)},
            {"type": "string", "format": rng.choice(list(FORMATS))},
            {"type": "string", "pattern": rng.choice(PATTERNS), "maxLength": 8},
        )
    )


def number(rng: random.Random) -> Schema:
    low = round(rng.uniform(-20, 20), rng.randint(0, 3))
    bounds = {
        rng.choice(("minimum", "exclusiveMinimum")): low,
        rng.choice(("maximum", "exclusiveMaximum")): round(low + rng.choice((0.1, 0.5, 1, 90)), 3),
    }
    step = {"multipleOf": rng.choice((0.01, 0.1, 0.25, 1, 3))} if rng.random() < 0.3 else {}
    return {"type": rng.choice(("number", "integer")), **bounds, **step}


def constant(rng: random.Random) -> Schema:
    return rng.choice(({"const": rng.choice(VALUES)}, {"enum": [rng.choice(VALUES), "z"]}))


def types(rng: random.Random) -> Schema:
    names = rng.sample(["string", "null", "integer", "boolean"], 2)
    return {"type": names, "maxLength": 3, "minimum": 1, "maximum": 7}


def an_object(rng: random.Random, depth: int) -> Schema:
    names = rng.sample(NAMES, rng.randint(0, 3))
    found: Schema = {"properties": {name: composed(rng, depth) for name in names}}
    found["required"] = rng.sample(names, rng.randint(0, len(names)))
    others: list[Schema] = [
        {"additionalProperties": False},
        {"additionalProperties": composed(rng, depth)},
        {"patternProperties": {"^p_": composed(rng, depth)}, "additionalProperties": False},
        {"maxProperties": rng.randint(1, 3)},
        {},
    ]
    return {"type": "object", **found, **rng.choice(others)} if rng.random() < 0.9 else found


def an_array(rng: random.Random, depth: int) -> Schema:
    most = rng.randint(0, 3)
    found: Schema = {"type": "array", "items": composed(rng, depth), "maxItems": most}
    if rng.random() < 0.3:
        found["prefixItems"] = [composed(rng, depth)]
    return {**found, "minItems": rng.randint(0, most)} if rng.random() < 0.3 else found


@pytest.mark.parametrize("seed", range(8))
def test_random_texts_of_random_schemas_are_valid(seed: int) -> None:
    walker, honoured = byte_walker(), 0
    for number in range(60):
        rng = random.Random(1000 * seed + number)
        schema: dict[str, Any] = {**composed(rng, 3), "$defs": {"r": composed(rng, 1)}}
        validator = jsonschema_rs.validator_for(schema, validate_formats=True)
        try:
            made = json_grammar(schema, "schema")
            begun = walker.guide.matcher(made)
        except InvalidRequest:
            continue  # alternatives of oneOf that overlap, what no text can be, …
        honoured += 1
        for _ in range(3):
            if found := walker.text(begun, rng):
                assert list(validator.iter_errors(json.loads(found))) == [], (schema, found)
                assert made.least <= len(found)
    assert honoured > 20
