"""Which words of two texts differ."""

from __future__ import annotations

import random

import pytest

from web.pages.word_diff import MOST_CHANGES, Piece, word_diff


def kept(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if not piece.changed)


def whole(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def changed(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.changed]


@pytest.mark.parametrize(
    ("before", "after", "gone", "come"),
    [
        ("the cat sat", "the cat sat", [], []),
        ("the cat sat", "the dog sat", ["cat"], ["dog"]),
        ("the cat sat", "the cat", [" sat"], []),
        ("", "new words", [], ["new words"]),
        ("price: 3.5", "price: 3.6", ["5"], ["6"]),
        ("客户要求退款", "客户要求换货", ["退款"], ["换货"]),
        ("cafe\u0301 au lait", "cafe au lait", ["cafe\u0301"], ["cafe"]),
        ("a\nb", "a b", ["\n"], [" "]),
    ],
)
def test_what_differs_is_marked_in_both(
    before: str, after: str, gone: list[str], come: list[str]
) -> None:
    found = word_diff(before, after)
    assert (changed(found.before), changed(found.after)) == (gone, come)


@pytest.mark.parametrize("seed", range(40))
def test_the_texts_stay_whole_and_what_is_not_marked_is_the_same(seed: int) -> None:
    draw = random.Random(seed)
    words = ["a", "bb", "c", "，", "退", "款", ".", "e\u0301"]
    before, after = (" ".join(draw.choices(words, k=draw.randint(0, 60))) for _ in range(2))
    found = word_diff(before, after)
    assert (whole(found.before), whole(found.after)) == (before, after)
    assert kept(found.before) == kept(found.after)


def test_as_few_words_as_possible_are_marked() -> None:
    before = " ".join(map(str, range(60)))
    after = " ".join(str(n) for n in range(60) if n % 10)
    found = word_diff(before, after)
    assert changed(found.after) == []
    assert sum(len(text.split()) for text in changed(found.before)) == 6


def test_texts_that_differ_too_much_are_marked_between_what_they_share() -> None:
    before = "begin " + "x y " * MOST_CHANGES + "end"
    after = "begin " + "p q " * MOST_CHANGES + "end"
    found = word_diff(before, after)
    assert kept(found.before) == kept(found.after) == "begin " + " end"


def test_long_texts_that_differ_everywhere_are_marked_at_once() -> None:
    draw = random.Random(1)
    before, after = (" ".join(draw.choices(words, k=20_000)) for words in ("abcd", "efgh"))
    found = word_diff(before, after)  # hours without a bound
    assert (changed(found.before), changed(found.after)) == ([before], [after])
