"""Reads CSV files as drafts, a record at a time. A record has several lines if a cell in quotes
does."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO, Any

from common.errors import InvalidRequest
from web.intake.columns import MOST_COLUMNS, Columns
from web.intake.drafts import Draft
from web.intake.lines import MOST_LINE, Blanks, Unreadable, lines

csv.field_size_limit(MOST_LINE)


def read_csv(file: IO[bytes], prompt_column: str) -> Iterator[Draft]:
    """A draft of each record after the header.

    Raises:
        InvalidRequest: the header cannot be used.
    """
    records = _Records(file)
    try:
        header = records.next()
    except Unreadable as error:
        raise InvalidRequest(
            f"the CSV's header cannot be read: {error}", field="file", line=1
        ) from None
    if header is None:
        return iter(())
    return _drafts(records, Columns(_without_empty_end(header, 0), prompt_column))


def _drafts(records: _Records, columns: Columns) -> Iterator[Draft]:
    names = columns.names
    while (cells := records.next()) is not None:
        cells = _without_empty_end(cells, len(names))
        if len(cells) != len(names):
            fault = f"has {len(cells)} cells where the header has {len(names)}"
            yield Draft(fault=fault, line=records.line)
        else:
            yield Draft(columns.item(cells), line=records.line)


def _without_empty_end(cells: list[str], least: int) -> list[str]:
    """The cells without empty ones at the end: spreadsheets write every line as wide as the
    widest."""
    count = len(cells)
    while count > least and not cells[count - 1]:
        count -= 1
    return cells[:count]


class _Records:
    """The records of a file that are not blank. `line` is where the last one began."""

    def __init__(self, file: IO[bytes]):
        self.line = 0
        self._lines = lines(file)
        self._reader: Any = csv.reader(self._texts(), strict=True)
        self._size = 0  # bytes of the record that is being read
        self._blanks = Blanks()

    def next(self) -> list[str] | None:
        """The next record's cells; None at the end.

        Raises:
            Unreadable: the next record is not CSV, or too large.
        """
        while True:
            self.line, self._size = self._reader.line_num + 1, 0
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                raise Unreadable(f"not valid CSV: {error}", self.line) from None
            if cells is None:
                return None
            if len(cells) > MOST_COLUMNS:
                raise Unreadable(
                    f"has {len(cells):,} cells; a file may have {MOST_COLUMNS:,} columns", self.line
                )
            if any(cell and not cell.isspace() for cell in cells):
                return cells
            self._blanks.skip(self.line)

    def _texts(self) -> Iterator[str]:
        for number, raw in self._lines:
            self._size += len(raw) + 1
            # The reader holds a whole record, over however many lines it goes.
            if self._size > MOST_LINE + 1:
                message = (
                    f"what begins here is longer than {MOST_LINE:,} bytes; is a quote missing?"
                )
                raise Unreadable(message, self.line)
            try:
                yield raw.decode() + "\n"
            except UnicodeDecodeError as error:
                raise Unreadable(f"not valid UTF-8 at byte {error.start + 1}", number) from None
