"""N-grams that are counted for many rows at once are those that are counted one by one."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from evals.ngrams import Ngrams


def counted(text: list[int], order: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(text[at : at + order]) for at in range(len(text) - order + 1))


def drawn(symbols: int, references: int) -> list[list[list[int]]]:
    """Thirty rows; where there are many symbols, texts are long and share parts."""
    draw = random.Random(symbols)
    most = 12 if symbols < 1000 else 2500
    rows = []
    for _ in range(30):
        first = draw.choices(range(symbols), k=draw.randint(0, most))
        texts = [first]
        for _ in range(draw.randint(min(1, references), references)):
            cut = draw.randint(0, len(first))
            texts.append(first[cut:] + draw.choices(range(symbols), k=draw.randint(0, most)))
        rows.append(texts)
    return rows


@pytest.mark.parametrize("order", [1, 2, 4, 6])
@pytest.mark.parametrize("references", [0, 1, 3])
@pytest.mark.parametrize("symbols", [1, 3, 300, 60_000])
def test_shared_ngrams_are_those_of_counters(symbols: int, references: int, order: int) -> None:
    rows = drawn(symbols, references)
    ngrams = Ngrams.of_words(rows, order)
    for size in range(1, order + 1):
        shared, totals = ngrams.shared(size), ngrams.totals(size)
        for place, (output, *others) in enumerate(rows):
            ours, theirs = counted(output, size), [counted(text, size) for text in others]
            most: Counter[tuple[int, ...]] = Counter()
            for at, each in enumerate(theirs):
                assert shared.matches[place, at] == (ours & each).total()
                assert totals[place, 1 + at] == each.total()
                most |= each
            assert shared.clipped[place] == (ours & most).total()
            assert shared.distinct[place] == len(ours)
            assert totals[place, 0] == ours.total()


def test_there_may_be_no_rows_and_no_symbols() -> None:
    assert Ngrams.of_words([], 4).shared(2).distinct.tolist() == []
    empty = Ngrams.of_words([[[], []], [[], []]], 4)
    assert empty.shared(1).matches.tolist() == [[0], [0]]
    assert Ngrams.of_characters([["", "a"]], 6).shared(1).matches.tolist() == [[0]]


def test_characters_are_compared_whatever_they_are() -> None:
    text = "a\x00\ud800\U0010ffff🙂中"
    shared = Ngrams.of_characters([[text, text[::-1]]], 6)
    assert shared.shared(1).matches.tolist() == [[len(text)]]
    assert shared.shared(2).matches.tolist() == [[0]]
