"""What commands print: the one way to a terminal for text that somebody else may have written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from common.printable import printable

KEPT = "\n\t"


def print_line(text: str = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print a line, without what a terminal would take for commands; `style` is click's
    (`bold=True`)."""
    text = printable(text, KEPT)
    click.echo(click.style(text, **style) if style else text, err=err, nl=nl)


def printable_lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """A file that comes in pieces, line by line, as `print_line` would print it."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield _line(line) + "\n"
    if rest:
        yield _line(rest)


def _line(line: bytes) -> str:
    return printable(line.removesuffix(b"\r").decode(errors="replace"), KEPT)
