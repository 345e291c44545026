"""Bounds the white space between the parts of JSON for llguidance before 1.8, which takes a pattern
for it as often as a model likes. Pure: knows tokens as bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

MOST = 41  # characters in a row: a line break and 40 spaces
SPACES = b" \n\r\t"
# Where a text is: behind so many characters of white space between values (0 to MOST), in a string,
# behind a backslash in one, or behind white space that may not be.
STRING, ESCAPE, TOO_LONG = MOST + 1, MOST + 2, MOST + 3


def after(state: int, text: bytes) -> int:
    """Where a text is that goes on by these bytes of one token. Only what a token begins with is
    refused, so that a run is longer by one token at most."""
    if state == TOO_LONG or (state == MOST and text[:1] and text[0] in SPACES):
        return TOO_LONG
    for byte in text:
        state = _next(state, byte)
    return state


def _next(state: int, byte: int) -> int:
    if state == ESCAPE:
        return STRING
    if state == STRING:
        return ESCAPE if byte == ord("\\") else 0 if byte == ord('"') else STRING
    if byte in SPACES:
        return min(state + 1, MOST)
    return STRING if byte == ord('"') else 0


class Spaces:
    """What of a model's tokens may not come where, because white space would go on without end.
    `spelled` gives a token's bytes."""

    too_long = TOO_LONG
    fault = "white space between two parts is too long"

    def __init__(self, vocabulary: int, spelled: Callable[[int], bytes]):
        self._spelled = spelled
        bits = np.full((vocabulary + 31) // 32, 0xFFFFFFFF, dtype=np.uint32)
        for token in range(vocabulary):
            if after(MOST, spelled(token)) == TOO_LONG:
                bits[token // 32] &= ~np.uint32(1 << token % 32)
        self._others = bits.view(np.int32)

    def after(self, state: int, token: int) -> int:
        """Where a text is that goes on by this token."""
        return after(state, self._spelled(token))

    def narrow(self, state: int, words: NDArray[np.int32]) -> None:
        """Take what may not come there out of a row of allowed tokens."""
        if state == MOST:
            words[: len(self._others)] &= self._others
