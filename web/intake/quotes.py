"""Finds the quote that makes a record of a CSV file unreadable."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class BrokenQuote:
    """`line` counts from 0 in the record, `column` from 1 in that line."""

    line: int
    column: int
    is_open: bool  # or else text follows its end


def find_broken_quote(lines: list[str], delimiter: str) -> BrokenQuote | None:
    """The first quote of a record that is not closed, or the first text after a closing one."""
    text = "".join(lines)
    part = re.compile(f"[{re.escape(delimiter)}\r\n]")
    at = 0
    while at < len(text):
        if text[at] != '"':
            found = part.search(text, at)
            if found is None:
                return None
            at = found.end()
            continue
        end = _closing(text, at)
        if end is None:
            return _place(lines, at, True)
        if end + 1 < len(text) and not part.match(text, end + 1):
            return _place(lines, end + 1, False)
        at = end + 2
    return None


def _closing(text: str, opening: int) -> int | None:
    """Where the quote is that closes the one at `opening`; two of them are a character."""
    at = opening + 1
    while (at := text.find('"', at)) >= 0:
        if text[at + 1 : at + 2] != '"':
            return at
        at += 2
    return None


def _place(lines: list[str], at: int, is_open: bool) -> BrokenQuote:
    for number, line in enumerate(lines):
        if at < len(line):
            return BrokenQuote(number, at + 1, is_open)
        at -= len(line)
    return BrokenQuote(max(len(lines) - 1, 0), at + 1, is_open)
