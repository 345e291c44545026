"""Shows which words of two texts differ, for outputs that stand side by side. Pure.

The work is bounded: where more than `MOST_CHANGES` words would have to be taken out or put in, all
words between what both texts begin with and what both end with are marked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from evals.scripts import UNSPACED, within

# The time grows with its square; with so many it is some 5 ms.
MOST_CHANGES = 120

# Letters of scripts without spaces between words are compared one by one.
_LETTERS = within(UNSPACED)
_WORDS = re.compile(rf"[{_LETTERS}]|[^\W{_LETTERS}]+|\s+|.", re.DOTALL)


class Piece(NamedTuple):
    """A part of a text; `changed`: the other text does not have it in this place."""

    text: str
    changed: bool


class Marked(NamedTuple):
    before: list[Piece]
    after: list[Piece]


def word_diff(before: str, after: str) -> Marked:
    """Both texts, whole, in pieces."""
    old, new = _words(before), _words(after)
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    inside = old[start : len(old) - end], new[start : len(new) - end]
    kept = _kept(*inside) or (bytearray(len(inside[0])), bytearray(len(inside[1])))
    return Marked(
        *(_pieces(words, start, flags) for words, flags in zip((old, new), kept, strict=True))
    )


def _words(text: str) -> list[str]:
    """Words, white space and single characters; marks stay with what they stand on."""
    found = _WORDS.findall(text)
    if text.isascii():
        return found
    joined: list[str] = []
    for word in found:
        if joined and unicodedata.category(word[0])[0] == "M":
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = zip(old, new, strict=False)
    return next(
        (at for at, (one, other) in enumerate(pairs) if one != other), min(len(old), len(new))
    )


def _kept(old: Sequence[str], new: Sequence[str]) -> tuple[bytearray, bytearray] | None:
    """A 1 for each word that stays, in both; None where more than `MOST_CHANGES` would change.

    Myers, 1986: `reach[k]` is how far one gets in the old text on the diagonal k, which is the
    place in the old text less that in the new one, with as many changes as were allowed so far.
    """
    reach, trace = {1: 0}, []
    for changes in range(min(len(old) + len(new), MOST_CHANGES) + 1):
        trace.append(reach.copy())
        for k in range(-changes, changes + 1, 2):
            down = k == -changes or (k != changes and reach[k - 1] < reach[k + 1])
            at = reach[k + 1] if down else reach[k - 1] + 1
            while at < len(old) and at - k < len(new) and old[at] == new[at - k]:
                at += 1
            reach[k] = at
            if at >= len(old) and at - k >= len(new):
                return _backwards(trace, len(old), len(new))
    return None


def _backwards(trace: Sequence[dict[int, int]], old: int, new: int) -> tuple[bytearray, bytearray]:
    """The words on the path that `_kept` found, from its end on."""
    kept = bytearray(old), bytearray(new)

    def keep(from_old: int, from_new: int) -> tuple[int, int]:
        """Words that stay, back to where the last change led."""
        at, there = old, new
        while at > from_old and there > from_new:
            at, there = at - 1, there - 1
            kept[0][at] = kept[1][there] = 1
        return from_old, from_new

    for changes in range(len(trace) - 1, 0, -1):
        reach, k = trace[changes], old - new
        down = k == -changes or (k != changes and reach[k - 1] < reach[k + 1])
        before = k + 1 if down else k - 1
        old, new = keep(reach[before], reach[before] - before)
    keep(0, 0)
    return kept


def _pieces(words: Sequence[str], start: int, kept: bytearray) -> list[Piece]:
    found: list[Piece] = []
    for at, word in enumerate(words):
        changed = 0 <= at - start < len(kept) and not kept[at - start]
        if found and found[-1].changed == changed:
            found[-1] = Piece(found[-1].text + word, changed)
        else:
            found.append(Piece(word, changed))
    return found
