"""White space between the parts of JSON has an end, with each llguidance that we take."""

from __future__ import annotations

import json
import random
from itertools import groupby

import numpy as np
import pytest

from common.structured import guidance
from common.structured.guidance import BYTE_END, BYTE_VOCABULARY, Guide
from common.structured.spaces import MOST, STRING, TOO_LONG, Spaces, after
from tests.unit.structured.test_guidance import grammar

TOKENS = [b" ", b"\n", b"\n  ", b"a", b'"', b"\\", b'" ', b"{\n", b"1", b""]
INTEGERS = {"type": "array", "items": {"type": "integer"}}
LIST = grammar(json_schema=INTEGERS)


@pytest.fixture(params=["as installed", "as before 1.8"])
def guide(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Guide:
    if request.param == "as before 1.8":
        monkeypatch.setattr(guidance, "bounds_spaces", lambda: False)
    return Guide(None, BYTE_VOCABULARY, [BYTE_END])


def test_white_space_ends_between_the_parts_of_a_text(guide: Guide) -> None:
    matcher = guide.matcher(LIST)
    assert matcher.accept(ord("[")) and matcher.accept(ord("\n"))
    taken = 0
    while matcher.allows(ord(" ")):
        assert matcher.accept(ord(" "))
        taken += 1
    assert taken == MOST - 1
    mask = guidance.empty_mask(1, BYTE_VOCABULARY)
    assert matcher.copy().fill(mask)
    allowed = {byte for byte in range(256) if mask[0, byte // 32] >> byte % 32 & 1}
    assert allowed == set(b"-0123456789]")
    assert all(map(matcher.accept, b"1]")) and matcher.can_end


def test_a_token_too_many_fails_the_text_and_no_other(guide: Guide) -> None:
    matcher = guide.matcher(LIST)
    assert all(map(matcher.accept, b"[\n" + b" " * (MOST - 1)))
    other = matcher.copy()
    assert not matcher.accept(ord(" "))
    assert matcher.failed and matcher.is_stopped and not matcher.can_end
    assert other.failed is None and other.accept(ord("1"))


def test_strings_have_as_much_white_space_as_they_like(guide: Guide) -> None:
    matcher = guide.matcher(grammar(json_schema={"type": "string"}))
    text = json.dumps("a\\" + " " * 200 + '"' + " " * 200)
    assert all(map(matcher.accept, text.encode())) and matcher.can_end


def test_walks_under_a_schema_end_before_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walker that prefers white space."""
    monkeypatch.setattr(guidance, "bounds_spaces", lambda: False)
    guide = Guide(None, BYTE_VOCABULARY, [BYTE_END])
    five = grammar(json_schema={**INTEGERS, "minItems": 5})
    matcher, text, rng = guide.matcher(five), b"", random.Random(1)
    while not matcher.is_stopped and len(text) < 3000:
        spaces = [byte for byte in b" \n" if matcher.allows(byte)]
        others = [byte for byte in b"[]1," if matcher.allows(byte)]
        text += bytes([rng.choice(spaces or others)])
        assert matcher.accept(text[-1])
    runs = [len(list(run)) for blank, run in groupby(text.decode(), str.isspace) if blank]
    assert max(runs) <= MOST and len(runs) > 5


def test_places_follow_strings_and_escapes() -> None:
    assert after(0, b'"') == STRING == after(STRING, b"   ")
    assert after(STRING, b'\\"') == STRING and after(STRING, b'"') == 0
    assert after(3, b"{\n  ") == 3 and after(3, b" ") == 4
    assert after(MOST - 1, b"\n  ") == MOST and after(MOST, b"x ") == 1
    assert after(MOST, b" x") == TOO_LONG == after(TOO_LONG, b"x")
    assert after(MOST, b"") == MOST


def test_masks_take_out_what_begins_with_white_space_and_nothing_else() -> None:
    spaces = Spaces(len(TOKENS), TOKENS.__getitem__)
    for place in (0, MOST, STRING):
        words = np.array([-1], dtype=np.int32)
        spaces.narrow(place, words)
        allowed = {token for token in range(len(TOKENS)) if words[0] >> token & 1}
        fine = {t for t in range(len(TOKENS)) if spaces.after(place, t) != TOO_LONG}
        assert allowed == fine
        assert (len(fine) == len(TOKENS)) is (place != MOST)


@pytest.mark.parametrize(
    ("version", "bounded"),
    [("llguidance@1.7.6 derivre@0.3.12", False), ("llguidance@1.8.0", True), ("odd", True)],
)
def test_the_version_decides(monkeypatch: pytest.MonkeyPatch, version: str, bounded: bool) -> None:
    monkeypatch.setattr(guidance, "version", lambda: version)
    assert guidance.bounds_spaces() is bounded
