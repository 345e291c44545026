"""Asking a constraint about one token gives what its mask says of that token."""

from __future__ import annotations

import random

import numpy as np
import pytest

from common.generation import ThinkingSpan
from common.structured.grammar import grammar_of
from common.structured.guidance import BYTE_END, BYTE_VOCABULARY, byte_guide
from common.structured.output_format import OutputFormat
from worker.engine.sampling.grammar import Constraint, allowed_tokens

BEGIN, END = 256, 257  # tokens of no byte
SPANS = {
    "none": None,
    "closed": ThinkingSpan(BEGIN, END, open=False),
    "open": ThinkingSpan(BEGIN, END, open=True),
    "short": ThinkingSpan(BEGIN, END, open=True, max_tokens=3),
}
OUTPUTS = [
    {"json": True},
    {"regex": "[ab]{2,5}|é+"},
    {"choice": ["yes", "no", "yes, but"]},
    {"json_schema": {"type": "array", "items": {"enum": ["ü", 1, None]}, "maxItems": 3}},
]


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS.keys())
@pytest.mark.parametrize("output", [*OUTPUTS, None], ids=str)
def test_a_token_is_allowed_where_the_mask_has_it(
    output: dict | None, span: ThinkingSpan | None
) -> None:
    rng = random.Random(str(output))
    made = grammar_of(OutputFormat.model_validate(output)) if output else None
    for _ in range(5):
        matcher = byte_guide().matcher(made) if made else None
        constraint = Constraint(matcher, span, frozenset({BYTE_END}))
        for _ in range(30):
            allowed = by_mask(constraint)
            assert {
                token for token in range(BYTE_VOCABULARY) if constraint.allows(token)
            } == allowed
            token = rng.choice(sorted(allowed))
            if token == BYTE_END:
                break
            constraint.push(token)
            if constraint.is_over:  # its row ends
                break


def by_mask(constraint: Constraint) -> set[int]:
    rows, words = allowed_tokens([constraint], BYTE_VOCABULARY)
    if not rows:
        return set(range(BYTE_VOCABULARY))
    bits = np.unpackbits(words[0].view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits[:BYTE_VOCABULARY]).tolist())


def test_a_text_that_failed_allows_nothing() -> None:
    made = grammar_of(OutputFormat.model_validate({"choice": ["yes"]}))
    assert made
    constraint = Constraint(byte_guide().matcher(made), None, frozenset({BYTE_END}))
    constraint.push(ord("n"))
    assert constraint.error
    assert not constraint.allows(ord("y"))
