"""Reads the lines of an uploaded file, with their numbers and within limits.

A file may be hostile: the length of a line is limited before it is read, blank lines are counted,
and other requests are served between lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from common.cooperate import Steps
from common.errors import InvalidRequest
from web.intake.drafts import MALFORMED, Draft

# Bytes of one line, or of one row, so that a file without line breaks takes little memory.
MOST_LINE = 4 * 2**20
MOST_BLANK = 100_000  # lines of a file; so many are not there by accident, and cost time


def empty_file(why: str) -> InvalidRequest:
    """The error of a file that gives no items."""
    return InvalidRequest(why, code="empty_job", field="file")


class Unreadable(Exception):
    """The file cannot be read from this line on."""

    def __init__(self, message: str, line: int, code: str = MALFORMED):
        super().__init__(message)
        self.line = line
        self.code = code

    def draft(self) -> Draft:
        return Draft(fault=str(self), line=self.line, code=self.code)


def lines(file: IO[bytes], head: bytes = b"") -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers (from 1) and ends. `head` was read from the file before.

    Raises:
        Unreadable: at a line over the limit.
    """
    steps = Steps()
    for number, raw in enumerate(_raw_lines(file, head), start=1):
        if len(raw) > MOST_LINE and len(raw.rstrip(b"\r\n")) > MOST_LINE:
            raise Unreadable(f"a line is longer than {MOST_LINE:,} bytes", number)
        yield number, raw
        steps.step()


def _raw_lines(file: IO[bytes], head: bytes) -> Iterator[bytes]:
    *whole, rest = re.findall(rb"[^\n]*\n|[^\n]+", head) or [b""]
    yield from whole
    if not rest.endswith(b"\n"):
        rest += file.readline(MOST_LINE + 2 - len(rest))
    if rest:
        yield rest
    while raw := file.readline(MOST_LINE + 2):
        yield raw


class Blanks:
    """Counts the blank lines of a file, which are skipped."""

    def __init__(self) -> None:
        self._count = 0

    def skip(self, line: int) -> None:
        """
        Raises:
            Unreadable: there are too many.
        """
        self._count += 1
        if self._count >= MOST_BLANK:
            raise Unreadable(
                f"{MOST_BLANK:,} lines are blank; take them out", line, "too_many_blank_lines"
            )
