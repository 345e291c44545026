"""Keeps the exponents of JSON's numbers to two digits: most readers take `1e999` for infinity, and
llguidance writes any. Pure: knows bytes, and tokens as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Where a text of JSON is: between values, in a string or behind a backslash in one, in a number
# before its exponent, behind `e` or its sign, behind one and behind two digits of the exponent.
OUTSIDE, STRING, ESCAPE, NUMBER, BEGUN, ONE, TWO, TOO_LONG = range(8)
DIGITS, SIGNS = b"0123456789", b"+-"
HAS_DIGIT = re.compile(rb"[0-9]").search


def _row(others: int, changes: dict[bytes, int]) -> list[int]:
    """The next state by the next byte."""
    found = [others] * 256
    for chars, state in changes.items():
        for char in chars:
            found[char] = state
    return found


NEXT = [
    _row(OUTSIDE, {b'"': STRING, DIGITS: NUMBER}),
    _row(STRING, {b'"': OUTSIDE, b"\\": ESCAPE}),
    _row(STRING, {}),
    _row(OUTSIDE, {b'"': STRING, DIGITS + b".": NUMBER, b"eE": BEGUN}),
    _row(OUTSIDE, {b'"': STRING, DIGITS: ONE, SIGNS: BEGUN}),
    _row(OUTSIDE, {b'"': STRING, DIGITS: TWO}),
    _row(OUTSIDE, {b'"': STRING, DIGITS: TOO_LONG}),
    _row(TOO_LONG, {}),
]


def after(state: int, text: bytes) -> int:
    """Where a text is that goes on by these bytes."""
    for byte in text:
        state = NEXT[state][byte]
    return state


class Exponents:
    """What of a model's tokens may not come where, because an exponent would be too long. `spelled`
    gives a token's bytes."""

    too_long = TOO_LONG
    fault = "an exponent has more than two digits"

    def __init__(self, vocabulary: int, spelled: Callable[[int], bytes]):
        self._spelled = spelled
        with_digits = {
            token: text for token in range(vocabulary) if HAS_DIGIT(text := spelled(token))
        }
        self._others = [
            self._mask(vocabulary, state, with_digits) for state in range(OUTSIDE, TOO_LONG)
        ]

    @staticmethod
    def _mask(vocabulary: int, state: int, tokens: dict[int, bytes]) -> NDArray[np.int32] | None:
        """The bits of all tokens but those that would be too long; None where none would be."""
        long = [token for token, text in tokens.items() if after(state, text) == TOO_LONG]
        bits = np.full((vocabulary + 31) // 32, 0xFFFFFFFF, dtype=np.uint32)
        for token in long:
            bits[token // 32] &= ~np.uint32(1 << token % 32)
        return bits.view(np.int32) if long else None

    def after(self, state: int, token: int) -> int:
        """Where a text is that goes on by this token."""
        return after(state, self._spelled(token))

    def narrow(self, state: int, words: NDArray[np.int32]) -> None:
        """Take what may not come there out of a row of allowed tokens."""
        if (others := self._others[state]) is not None:
            words[: len(others)] &= others
