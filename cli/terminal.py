"""Prints lines to a terminal, without control characters that users, models or programs wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

from common.printable import printable

KEPT = "\n\t"

PrintLine = Callable[[str], object]


def print_line(text: str = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print a line with its control characters escaped; `style` is click's (`bold=True`)."""
    text = printable(text, KEPT)
    click.echo(click.style(text, **style) if style else text, err=err, nl=nl)


def in_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of equally many cells as lines of a table: the first column is text, the others are
    numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *padded])


def printable_lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a file that comes in pieces, with their control characters escaped."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield _line(line) + "\n"
    if rest:
        yield _line(rest)


def _line(line: bytes) -> str:
    return printable(line.removesuffix(b"\r").decode(errors="replace"), KEPT)
