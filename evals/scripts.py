"""Classes of characters: letters of scripts that are written without spaces, marks, words."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

HAN = (
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
)
KANA = ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F))
THAI, LAO, KHMER = ((0x0E00, 0x0E7F),), ((0x0E80, 0x0EFF),), ((0x1780, 0x17FF),)
BURMESE = ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))
UNSPACED = (*HAN, *KANA, *THAI, *LAO, *KHMER, *BURMESE)

# Beyond these code points there are neither letters nor marks, but for selectors of variants.
_ASSIGNED = (range(0x32400), range(0xE0100, 0xE01F0))


def within(ranges: Iterable[tuple[int, int]]) -> str:
    """The inside of a regular expression's `[…]` for these code points, both ends included."""
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)


def _runs(codes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending code points as ranges."""
    low = high = -1
    for code in codes:
        if code != high + 1:
            if low >= 0:
                yield low, high
            low = code
        high = code
    if low >= 0:
        yield low, high


@cache
def _classes() -> tuple[str, str, str, str]:
    """Letters of unspaced scripts, marks, all else that words have, punctuation: as `within`."""
    unspaced = {code for low, high in UNSPACED for code in range(low, high + 1)}
    letters, marks, words, punctuation = [], [], [], []
    for code in (code for part in _ASSIGNED for code in part):
        category = unicodedata.category(chr(code))
        if code in unspaced and (category[0] == "L" or category == "Nl"):
            letters.append(code)
        elif category[0] in "LMN":
            words.append(code)
            if category[0] == "M":
                marks.append(code)
        elif category[0] == "P":
            punctuation.append(code)
    found = (letters, marks, words, punctuation)
    letters_, marks_, words_, punctuation_ = (within(_runs(codes)) for codes in found)
    return letters_, marks_, words_, punctuation_


@cache
def words_pattern() -> re.Pattern[str]:
    """Finds runs of letters, marks and digits, but for letters of unspaced scripts."""
    return re.compile(f"[{_classes()[2]}]+")


@cache
def unspaced_pattern() -> re.Pattern[str]:
    """Finds a letter of an unspaced script."""
    return re.compile(f"[{_classes()[0]}]")


@cache
def units_pattern() -> re.Pattern[str]:
    """Finds a letter of an unspaced script with its marks, or what `words_pattern` finds."""
    letters, marks, words, _ = _classes()
    return re.compile(f"[{letters}][{marks}]*|[{words}]+")


@cache
def pieces_pattern() -> re.Pattern[str]:
    """Finds a letter of an unspaced script with its marks, or all else up to one or a space."""
    letters, marks, _, _ = _classes()
    return re.compile(rf"[{letters}][{marks}]*|[^{letters}\s]+")


@cache
def punctuation_pattern() -> re.Pattern[str]:
    """Punctuation of all scripts, and ASCII's symbols."""
    return re.compile(f"[{_classes()[3]}{re.escape(string.punctuation)}]+")
