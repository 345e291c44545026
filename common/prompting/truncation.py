"""Cuts texts to so many tokens of a model, between characters that a reader sees.

A cut text is counted again, and made shorter until it holds the limit: tokens at a cut may be
others than they were in the whole text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Literal, Protocol

Keep = Literal["start", "end", "both"]
Offsets = list[tuple[int, int]]

CHARACTERS_PER_TOKEN = 5  # of most texts fewer; where a text has more, more of it is read
# More tokens than cutting a text in two can add: a text whose start has so many above the limit is
# over it, too.
SEAM = 64
MOST_MARKS = 32  # of one character; further ones are no text
PATIENT = 4  # times that a cut is moved by just what was too much
SAMPLE = 16  # tokens of a text by which it is found out how much there is beside it
NEARLY = 8  # tokens by which that may be wrong


class Tokens(Protocol):
    """What of a tokenizer truncation needs (`common/tokenizer.py`)."""

    def count_batch(self, texts: list[str], special: bool = True) -> list[int]: ...
    def offsets(self, text: str) -> Offsets: ...


def truncate(
    text: str,
    limit: int,
    keep: Keep,
    tokens: Tokens,
    excess: Callable[[str], int] | None = None,
    uses: int = 1,
) -> str | None:
    """The text, or a part of it of about `limit` tokens at most. None if nothing of it may stay.

    `excess` says by how many tokens a text is too long, wherever it is used, which is `uses` times;
    without it the text alone holds the limit.
    """

    def above(candidate: str) -> int:
        return tokens.count_batch([candidate], False)[0] - limit

    over = excess or above
    cutter = _Cutter(text, limit, keep, tokens)
    room, tries = limit, 0
    if excess is not None and room > SAMPLE:
        room = min(limit, SAMPLE - excess(cutter.cut(SAMPLE)) // uses)
        if cutter.whole is not None and room < cutter.whole <= room + NEARLY and over(text) <= 0:
            return text
    while room >= 1:
        candidate = cutter.cut(room)
        too_many = over(candidate)
        if too_many <= 0:
            return candidate
        tries += 1
        # Texts of which a cut changes far more than itself end all the same, in a few tries.
        room -= -(-too_many // uses) * 2 ** max(0, tries - PATIENT)
    return None


class _Cutter:
    """Parts of one text with so many tokens. The tokens are looked up once, at its start and end
    only."""

    def __init__(self, text: str, limit: int, keep: Keep, tokens: Tokens):
        self._text = text
        self._keep = keep
        # Tokens of the whole text, if it is not sure to be too long.
        self.whole: int | None = None
        size = max(1, limit) * CHARACTERS_PER_TOKEN
        while True:
            first = text if size >= len(text) else text[:size]
            offsets = tokens.offsets(first)
            if len(first) == len(text):
                self.whole = len(offsets)
                break
            if len(offsets) > limit + SEAM:
                break
            size *= 2
        self._start = offsets
        self._end = (0, offsets)
        if keep != "start" and self.whole is None:
            self._end = _last(text, limit, size, tokens)

    def cut(self, room: int) -> str:
        """The whole text if it has so many tokens, else a part."""
        if self.whole is not None and self.whole <= room:
            return self._text
        if self._keep == "start":
            return self._first(room)
        if self._keep == "end":
            return self._last(room)
        # With the white space before it, which parts it from the start.
        return self._first(room - room // 2) + self._last(room // 2, spaced=True)

    def _first(self, room: int) -> str:
        end = min(self._start[room][0], self._start[room - 1][1]) if room else 0
        return self._text[: character_border(self._text, end, -1)]

    def _last(self, room: int, spaced: bool = False) -> str:
        at, offsets = self._end
        if not room or not offsets:
            return ""
        place = len(offsets) - room
        begin, before = offsets[max(0, place)][0], offsets[place - 1][1] if place > 0 else 0
        begin = before if spaced else max(begin, before)
        return self._text[character_border(self._text, at + begin, 1) :]


def _last(text: str, limit: int, size: int, tokens: Tokens) -> tuple[int, Offsets]:
    """Where the last characters begin that have more than `limit` tokens, and these tokens."""
    while True:
        at = max(0, len(text) - size)
        offsets = tokens.offsets(text[at:])
        if at == 0 or len(offsets) > limit:
            return at, offsets
        size *= 2


def character_border(text: str, at: int, step: Literal[-1, 1]) -> int:
    """The place from `at` on, in this direction, at which no character that a reader sees is cut in
    two: no marks, joiners, skin tones, flags or line ends are parted from what they belong to."""
    for _ in range(MOST_MARKS):
        if not 0 < at < len(text) or not _parted(text, at):
            break
        at += step
    return at


def _parted(text: str, at: int) -> bool:
    before, after = text[at - 1], text[at]
    if before == "\r" and after == "\n":
        return True
    if after.isascii():
        return False
    return (
        unicodedata.category(after)[0] == "M"
        or after in "\u200c\u200d"
        or before == "\u200d"
        or "\u1160" <= after <= "\u11ff"  # Hangul: vowels and ends of a syllable
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= after <= "\U000e007f"  # tags, of flags
        or (_is_half_flag(after) and _halves_before(text, at) % 2 == 1)
    )


def _is_half_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _halves_before(text: str, at: int) -> int:
    """Letters of flags right before this place: two make a flag."""
    first = at
    while first > max(0, at - 2 * MOST_MARKS) and _is_half_flag(text[first - 1]):
        first -= 1
    return at - first
