"""The signs and parts of regular expressions, and how a character is written for llguidance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SPECIAL = frozenset("\\.+*?()|[]{}^$#&-~/")
CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
BLANKS = " \\t\\n\\r\\f\\v"
ALL_BLANKS = "\\s\\x{1C}-\\x{1F}\\x{FEFF}"  # of any dialect
# Classes by their letter: inside brackets, in a class that takes characters in, and in one that
# leaves them out, which must be wide to be safe.
NARROW = {
    "d": "0-9",
    "w": "0-9A-Za-z_",
    "s": BLANKS,
    "D": "\\D",
    "W": "[^\\w\\p{N}]",
    "S": f"[^{ALL_BLANKS}]",
}
WIDE = {
    "d": "\\d",
    "w": "\\w\\p{N}",
    "s": ALL_BLANKS,
    "D": "[^0-9]",
    "W": "[^0-9A-Za-z_]",
    "S": f"[^{BLANKS}]",
}
PROPERTY = re.compile(r"[pP](?:\{\^?[A-Za-z_]{1,64}(?:=[A-Za-z_]{1,64})?\}|[A-Z])")
COUNT = re.compile(r"\{(\d{1,9})(?:(,)(\d{1,9})?)?\}")
POSIX = re.compile(r"\[([:.=])[^\]]*\1\]")
OPERATORS = ("&&", "||", "~~")
PLAIN = re.compile(r"[\w ,;:!=<>@%'\"`]+")
LOOKS = ("?=", "?!", "?<=", "?<!")
GROUP = re.compile(r"\?(?:P?<[A-Za-z_]\w{0,63}>|:)")
FLAGS = re.compile(r"\(\?([is]{1,2})\)")


def literal(character: str) -> str:
    """A character as an expression that matches only it."""
    if character in SPECIAL:
        return f"\\{character}"
    return character if character.isprintable() else f"\\x{{{ord(character):X}}}"


def code_of(member: str) -> int:
    """The character that `literal` wrote."""
    return int(member[3:-1], 16) if member.startswith("\\x{") else ord(member[-1])


@dataclass(frozen=True)
class Part:
    """A part of an expression: how it is written, and what `Pattern` says of it."""

    source: str
    least: int
    repeats: int = 1
    is_anchor: bool = False
    optional: int = 0  # most parts in a row that may be left out


def most_optional(parts: Sequence[Part]) -> int:
    """The most parts in a row that may be left out."""
    most = run = 0
    for part in parts:
        run += max(part.optional, 0 if part.least or part.is_anchor else 1)
        most = max(most, run)
        if part.least:
            run = part.optional
    return most
