"""The door to llguidance: its errors are never missed, and what it keeps is bounded and shared."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import numpy as np
import pytest

from common.errors import InvalidRequest
from common.structured import guidance
from common.structured.grammar import Grammar, grammar_of, lark_grammar
from common.structured.guidance import (
    BYTE_END,
    BYTE_VOCABULARY,
    Guide,
    Masks,
    byte_guide,
    empty_mask,
    version,
)
from common.structured.output_format import OutputFormat
from tests.support.grammar_walk import Walker, byte_walker, token_walker
from tests.support.tokenizers import for_json


def grammar(**output: Any) -> Grammar:
    found = grammar_of(OutputFormat.model_validate(output))
    assert found
    return found


def accepts(guide: Guide, made: Grammar, text: str) -> bool:
    matcher = guide.matcher(made)
    return all(map(matcher.accept, text.encode())) and matcher.can_end


@pytest.mark.parametrize("walker", [byte_walker(), token_walker(for_json(), 400)], ids="bt")
def test_any_json_is_an_object_that_every_reader_takes(walker: Walker) -> None:
    begun, rng = walker.guide.matcher(grammar(json=True)), random.Random(1)
    for _ in range(60):
        text = walker.text(begun, rng)
        if text is not None:
            assert isinstance(json.loads(text), dict)
            assert "Infinity" not in repr(json.loads(text, parse_float=float)) and len(text) >= 2


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a": [1, -2.5e-3, true, false, null, "x\\n\\u0001", {"b": {}}], "c": []}',
        '{\n    "a": 1,\n    "b": [\n        "é😀"\n    ]\n}',
    ],
)
def test_json_may_be_written_in_one_line_or_several(text: str) -> None:
    assert accepts(byte_guide(), grammar(json=True), text)
    assert accepts(byte_guide(), grammar(json_schema={"type": "object"}), text)


@pytest.mark.parametrize(
    "text", ["[]", "1", "{", '{"a": 1e999}', "{}  ", '{"a"\n\n:1}', '{"a":01}']
)
def test_other_json_and_endless_white_space_is_none(text: str) -> None:
    assert not accepts(byte_guide(), grammar(json=True), text)


LABELS = [
    "yes",
    "yes, sure",
    "y",
    " yes",
    "no",
    'say "no"',
    "a\\b",
    "née\n",
    "😀",
    "\x7f\x00",
    "//",
]


def test_a_choice_has_its_labels_and_nothing_else() -> None:
    guide, made = byte_guide(), grammar(choice=LABELS)
    assert all(accepts(guide, made, label) for label in LABELS)
    assert not any(accepts(guide, made, text) for text in ["", "ye", "yess", " y", "NO", "no "])
    walker, rng = byte_walker(), random.Random(2)
    begun = walker.guide.matcher(made)
    assert {walker.text(begun, rng) for _ in range(200)} == set(LABELS)


def test_five_thousand_labels_are_told_apart() -> None:
    labels = [f"{at * 7919 % 100_003}" for at in range(1, 5001)]
    guide, made = byte_guide(), grammar(choice=labels)
    assert made.least == min(map(len, labels))
    assert all(accepts(guide, made, label) for label in labels[::97])
    assert not accepts(guide, made, "100003")


def test_at_the_end_only_end_tokens_may_come() -> None:
    matcher = byte_guide().matcher(grammar(choice=["ab", "abc"]))
    mask = empty_mask(1, BYTE_VOCABULARY)
    states = [(matcher.can_end, matcher.is_stopped)]
    allowed = []
    for letter in b"abc":
        assert matcher.fill(mask)
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[:BYTE_VOCABULARY]
        allowed.append(set(np.flatnonzero(bits)))
        assert matcher.accept(letter)
        states.append((matcher.can_end, matcher.is_stopped))
    assert allowed == [{ord("a")}, {ord("b")}, {ord("c"), BYTE_END}]
    assert states == [(False, False), (False, False), (True, False), (True, True)]
    assert matcher.failed is None


def test_a_token_that_may_not_come_fails_this_text_and_no_copy_of_it() -> None:
    first = byte_guide().matcher(grammar(regex="a+"))
    second = first.copy()
    assert not first.accept(ord("b"))
    assert first.failed and first.is_stopped and not first.can_end
    assert not first.fill(empty_mask(1, BYTE_VOCABULARY))
    assert second.accept(ord("a")) and second.failed is None


def test_masks_of_several_texts_are_filled_at_once() -> None:
    guide = byte_guide()
    rows = [guide.matcher(grammar(regex=letter)) for letter in "abc"]
    mask = empty_mask(5, BYTE_VOCABULARY)
    Masks(2).fill([(each, place + 1) for place, each in enumerate(rows)], mask)
    bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little")[:, :BYTE_VOCABULARY]
    assert bits[0].all() and bits[4].all()
    assert [set(np.flatnonzero(row)) for row in bits[1:4]] == [{97}, {98}, {99}]


def test_a_limit_that_strikes_later_is_told() -> None:
    """Each of these characters doubles what the expression has to keep in mind."""
    made = grammar(regex=".*a.{1000}b.*c.{500}d.*")
    matcher, rng = byte_guide().matcher(made), random.Random(3)
    for _ in range(20_000):
        if not matcher.accept(ord(rng.choice("abcd"))):
            break
    assert matcher.failed and "too many" in matcher.failed
    assert byte_guide().matcher(made).accept(ord("a"))


def test_errors_are_without_the_text_of_the_grammar() -> None:
    with pytest.raises(InvalidRequest) as error:
        byte_guide().matcher(lark_grammar('start: "secret" unknown_rule', field="here"))
    assert "secret" not in error.value.message and error.value.field == "here"
    matcher = byte_guide().matcher(grammar(choice=["secret"]))
    assert not matcher.accept(ord("x"))


def test_no_more_than_so_many_grammars_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidance, "MOST_KEPT", 3)
    guide = byte_guide()
    for letter in "abcdea":
        assert guide.matcher(grammar(regex=letter)).accept(ord(letter))
        assert len(guide._kept) <= 3


def test_threads_may_share_a_guide() -> None:
    guide, failed = byte_guide(), []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(200):
            letter = rng.choice("abcdefgh")
            if not accepts(guide, grammar(regex=f"{letter}+"), letter * 3):
                failed.append(letter)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_the_version_is_told() -> None:
    assert version().startswith("llguidance@1.")


@pytest.mark.parametrize("escaped", [r'"\u0041"', r'"\u00e9"', r'"\ud83d\ude00"', r'"\/"'])
def test_strings_are_escaped_only_where_they_must_be(escaped: str) -> None:
    plain = json.dumps(json.loads(escaped), ensure_ascii=False)
    made = grammar(json_schema={"type": "string"})
    assert not accepts(byte_guide(), made, escaped)
    assert accepts(byte_guide(), made, plain)
