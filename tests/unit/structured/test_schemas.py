"""Every text that the grammar of a schema allows is valid by the schema, for another validator."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from common.structured.grammar import Grammar, grammar_of
from common.structured.output_format import OutputFormat
from tests.support.grammar_walk import Walker, byte_walker, token_walker
from tests.support.schemas import SCHEMAS
from tests.support.tokenizers import byte_fallback, for_json


@cache
def walkers() -> list[tuple[Walker, int]]:
    """Each with how many texts it makes of a schema."""
    return [
        (byte_walker(), 12),
        (token_walker(for_json(), 400), 4),
        (token_walker(byte_fallback(), 400), 4),
    ]


def grammar(schema: dict[str, Any]) -> Grammar:
    found = grammar_of(OutputFormat.model_validate({"json_schema": schema}))
    assert found and found.json
    return found


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_random_texts_of_a_schema_are_valid_by_it(number: int) -> None:
    schema = SCHEMAS[number]
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    made = grammar(schema)
    ended = 0
    for walker, times in walkers():
        begun, rng = walker.guide.matcher(made), random.Random(number)
        for _ in range(times):
            text = walker.text(begun, rng)
            if text is None:
                continue
            ended += 1
            assert list(validator.iter_errors(json.loads(text))) == [], text
            assert made.least <= len(text)
            assert made.least_tokens(3) <= -(-len(text) // 3)
    assert ended > 10
