"""No number of JSON is written with an exponent of more than two digits."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from common.structured.exponents import OUTSIDE, TOO_LONG, Exponents, after
from common.structured.grammar import grammar_of, json_grammar
from common.structured.guidance import Guide, Masks, byte_guide, empty_mask
from common.structured.output_format import OutputFormat
from tests.support.tokenizers import for_json
from tests.unit.structured.test_numbers import accepts

VOCABULARY = 400
TOKENS = [b"1", b"99", b"999", b"e", b"E-", b"e999", b"1e", b"+", b".5", b'"', b"\\", b",", b"}"]
TOKENS += [b'",1e123', b"1e12,", b"1e1234", b"<end>"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number"},
        {"type": "array", "items": {}},
        {"type": ["array", "number"]},
        {"anyOf": [{"type": "number"}, {"type": "array"}]},
    ],
)
def test_an_exponent_has_two_digits_at_most(schema: dict[str, Any]) -> None:
    begun = byte_guide().matcher(json_grammar(schema, "schema"))
    for number in ("1e9", "1e99", "-2.5E-07", "6.02e+23", "1" * 30, "1e999", "1E+123", "2.5e-100"):
        exponent = number.lower().partition("e")[2].lstrip("+-")
        for text in (number, f"[{number}]", f'["1e999",{number},{number}]'):
            if accepts(begun, text.replace(number, "1")):
                assert accepts(begun, text) == (len(exponent) <= 2), text


def test_strings_and_names_may_say_what_they_like() -> None:
    schema = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    begun = byte_guide().matcher(json_grammar(schema, "schema"))
    assert accepts(begun, r'{"1e999":"1e999\" 1e999","a":1e99}')
    assert not accepts(begun, r'{"1e999":"1e999\"","a":1e999}')


def test_the_mask_allows_what_is_accepted_and_nothing_else() -> None:
    tokenizer = for_json()
    guide = Guide(tokenizer.dumps(), VOCABULARY, tokenizer.eos_ids)
    grammar = json_grammar({"type": "array", "items": {"type": ["number", "string"]}}, "schema")
    texts = ("[", "[1", "[1e", "[1e-", "[1e5", "[1e55", '["1e55', '["1e55",2e55')
    matchers = []
    for text in texts:
        matcher = guide.matcher(grammar)
        assert all(map(matcher.accept, tokenizer.encode(text, special=False)))
        matchers.append(matcher)
    together = empty_mask(len(texts), VOCABULARY)
    Masks(1).fill([(matcher, row) for row, matcher in enumerate(matchers)], together)
    for row, matcher in enumerate(matchers):
        mask = empty_mask(1, VOCABULARY)
        assert matcher.fill(mask)
        assert (mask[0] == together[row]).all()
        for token in range(VOCABULARY):
            allowed = bool(mask[0].view(np.uint32)[token // 32] >> (token % 32) & 1)
            assert allowed == matcher.allows(token), (texts[row], token)
            if token not in tokenizer.eos_ids:
                assert allowed == matcher.copy().accept(token), (texts[row], token)


def test_a_text_that_went_too_far_has_failed() -> None:
    matcher = byte_guide().matcher(json_grammar({"type": "number"}, "schema"))
    assert [matcher.accept(byte) for byte in b"1e999"] == [True, True, True, True, False]
    assert matcher.failed and matcher.is_stopped and not matcher.can_end


def test_tokens_of_several_characters_are_taken_out_where_they_would_be_too_long() -> None:
    exponents = Exponents(len(TOKENS), TOKENS.__getitem__)
    for before, (token, text) in product([b"", b"1", b"1e", b"1e1", b"1e12"], enumerate(TOKENS)):
        state = after(OUTSIDE, before)
        words = empty_mask(1, len(TOKENS))[0]
        exponents.narrow(state, words)
        too_long = after(state, text) == TOO_LONG
        assert bool(words[0] >> token & 1) == (not too_long), (before, text)
    assert after(OUTSIDE, b"1e12345") == TOO_LONG


def test_a_large_constant_is_written_without_an_exponent() -> None:
    begun = byte_guide().matcher(json_grammar({"const": 1e300}, "schema"))
    assert accepts(begun, "1" + "0" * 300)


def test_any_json_is_bounded_as_well() -> None:
    grammar = grammar_of(OutputFormat.model_validate({"json": True}))
    assert grammar
    begun = byte_guide().matcher(grammar)
    assert accepts(begun, '{"a":1e99}') and not accepts(begun, '{"a":1e999}')
