"""Finds the character that parts the cells of a CSV file, from its header and first records."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence

USUAL = (",", ";", "\t", "|")
SAMPLE_LINES = 100
SAMPLE_SIZE = 2**16  # bytes after which no further line is looked at


def find_delimiter(sample: Sequence[str], whole: bool, first: str, wanted: Iterable[str]) -> str:
    """The delimiter of a file that begins with these lines; `whole` if they are all of it.

    It must part the header. Of several that do, the one is taken whose header has the `wanted`
    columns, then the one with which most records are as wide as the header, then the one with most
    columns, then `first`, which is also taken if none parts the header.
    """
    candidates = (first, *(each for each in USUAL if each != first))
    wanted = set(wanted)
    best, best_rank = first, (False, 0.0, 1)
    for candidate in candidates:
        header, *records = list(_records(sample, whole, candidate)) or [None]
        header = without_empty_end(header or [], 0)
        if len(header) < 2:
            continue
        width = len(header)
        even = [each and len(without_empty_end(each, width)) == width for each in records]
        share = sum(map(bool, even)) / len(records) if records else 1.0
        rank = (bool(wanted) and wanted <= set(header), share, len(header))
        if rank > best_rank:
            best, best_rank = candidate, rank
    return best


def without_empty_end(cells: list[str], least: int) -> list[str]:
    """The cells without empty ones at the end: spreadsheets write every line as wide as the
    widest."""
    count = len(cells)
    while count > least and not cells[count - 1]:
        count -= 1
    return cells[:count]


def _records(sample: Sequence[str], whole: bool, delimiter: str) -> Iterator[list[str] | None]:
    """The records that are sure to end within the sample; None, as the last, for one that is no
    CSV."""
    reader = csv.reader(iter(sample), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            is_sure = whole or reader.line_num < len(sample)
            if is_sure and any(cell and not cell.isspace() for cell in cells):
                yield cells
    except csv.Error:
        if whole or reader.line_num < len(sample):
            yield None
