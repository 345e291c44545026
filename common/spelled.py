"""Gives names one spelling, however a keyboard, a file system or a browser encodes their accents.

`é` may be one character or an `e` with a mark, and looks the same (Unicode's forms C and D).
"""

from __future__ import annotations

import unicodedata

# Characters: to sort the marks of a longer text may take the square of its length.
LONGEST_NAME = 1024


def spelled(name: str) -> str:
    """The name in form C. What is too long for a name stays as it is."""
    return unicodedata.normalize("NFC", name) if len(name) <= LONGEST_NAME else name


def searchable(name: str) -> str:
    """A form that is the same for names that differ only in case or in how they are encoded."""
    return spelled(spelled(name).casefold())
