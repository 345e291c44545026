"""Finds the quote that makes a record of a CSV file unreadable."""

from __future__ import annotations

import re
from dataclasses import dataclass

QUOTED = r'"[^"]*+(?:""[^"]*+)*+"'  # a cell in quotes; two of them inside are a character


@dataclass(frozen=True)
class BrokenQuote:
    """`line` counts from 0 in the record, `column` from 1 in that line."""

    line: int
    column: int
    is_open: bool  # or else text follows its end


def find_broken_quote(lines: list[str], delimiter: str) -> BrokenQuote | None:
    """The first quote of a record that is not closed, or the first text after a closing one. One
    pattern finds it, so that a long record takes no long time."""
    text, part = "".join(lines), re.escape(delimiter)
    cells = rf"(?:(?:{QUOTED}|[^\"{part}\r\n][^{part}\r\n]*+|){part})*+"
    found = re.match(cells, text)
    at = found.end() if found else 0
    if text[at : at + 1] != '"':
        return None
    closed = re.compile(QUOTED).match(text, at)
    if closed is None:
        return _place(lines, at, True)
    ends = text[closed.end() : closed.end() + 1] in ("\r", "\n", "")
    return None if ends else _place(lines, closed.end(), False)


def _place(lines: list[str], at: int, is_open: bool) -> BrokenQuote:
    for number, line in enumerate(lines):
        if at < len(line):
            return BrokenQuote(number, at + 1, is_open)
        at -= len(line)
    return BrokenQuote(max(len(lines) - 1, 0), at + 1, is_open)
