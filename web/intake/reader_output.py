"""What the processes share that read files: their limits, and how they write what they found.

A reader gets a file as its standard input and limits its own memory and time, to more than ordinary
files need; the kernel ends it at these limits. It writes lines of JSON: an object about the file,
then each row as the list of its cells, then `"end"`. `{"fault", "is_last", "cells"}` stands for a
row that cannot be read, with what is known of it; a number is the line of the next row, where lines
are left out. It imports nothing else of this project, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS = 60  # of processor time
NICENESS = 5  # the web process goes first

Value = Any  # a value of JSON


class UnreadableTable(Exception):
    """The file cannot be read; the message says why. `about` goes with it into the answer."""

    def __init__(self, message: str, **about: str):
        super().__init__(message)
        self.about = about


def bound(memory: int) -> None:
    """Limit this process to so many bytes on top of what it takes now and twice the file's size,
    and to `SECONDS`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    os.nice(NICENESS)
    with suppress(OSError):  # without /proc the limit would be a guess, and macOS enforces none
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = taken + memory + 2 * os.fstat(0).st_size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def as_json(value: Value) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def row_fault(message: str, cells: list[Value] | None = None) -> bytes:
    """What stands for a row that cannot be read; `cells` are what is known of it."""
    known = {} if cells is None else {"cells": cells}
    return as_json({"fault": message, "is_last": False, **known})


def too_large(most_row: int) -> bytes:
    return row_fault(f"the row is longer than {most_row:,} bytes")


def write(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")


def say(value: Value) -> None:
    """Write a value, and all that was written before, at once."""
    write(as_json(value))
    sys.stdout.buffer.flush()


def say_unreadable(error: UnreadableTable) -> None:
    say({"fault": str(error), "is_last": True, **error.about})


def write_rows(rows: Iterable[bytes], most_row: int, most_rows: int) -> None:
    """Write rows, none of them longer than `most_row`.

    Raises:
        UnreadableTable: together they are longer than `most_rows`.
    """
    total = 0
    for row in rows:
        write(row if len(row) <= most_row else too_large(most_row))
        total += len(row)
        if total > most_rows:
            raise UnreadableTable(
                f"the rows up to here have {most_rows / 2**20:,.0f} MiB, the most; split the file"
            )
