"""Reads CSV files as drafts, a record at a time: cells parted by commas, semicolons, tabs or bars.
A record has several lines if a cell in quotes does."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import IO, Any

from common.errors import InvalidRequest
from web.intake.columns import MOST_COLUMNS, PROMPT
from web.intake.delimiter import SAMPLE_LINES, SAMPLE_SIZE, find_delimiter, without_empty_end
from web.intake.drafts import Draft
from web.intake.lines import MOST_LINE, Blanks, Unreadable, empty_file
from web.intake.quotes import find_broken_quote
from web.intake.reading import Reading
from web.intake.table_rows import TableRows, table_rows
from web.intake.text_lines import TextFile, TextLine

csv.field_size_limit(MOST_LINE)

# The first line of some files that Excel writes: it says the delimiter, and is no header.
SAYS_DELIMITER = re.compile(r'"?sep=([^"\r\n])"?\r?\n?', re.IGNORECASE)


def read_csv(file: IO[bytes], reading: Reading, usual: str = ",") -> Iterator[Draft]:
    """A draft of each record after the header. `usual` is the delimiter of files of its kind.

    Raises:
        InvalidRequest: the file is empty, or the header cannot be used.
    """
    records = Records(file, reading, usual)
    header = records.header()
    if header is None:
        raise empty_file("the file is empty")
    return _drafts(records, table_rows(header, reading))


def _drafts(records: Records, rows: TableRows) -> Iterator[Draft]:
    width = len(rows.names)
    while (cells := records.next()) is not None:
        cells = without_empty_end(cells, width)
        draft = rows.draft(cells, records.line)
        if draft.refused and width < len(cells) <= width + records.unnamed:
            message = (
                f"has text in column {len(cells)}, which has no name in the header: name that "
                "column, or empty its cells"
            )
            draft.refused = {**draft.refused, "message": message}
        yield draft


class Records:
    """The records of a file that are not blank. `line` is where the last one began; so many columns
    at the end of the header are `unnamed`.

    A cell of several lines keeps their ends as they are where columns are data; where it is a
    prompt, each becomes `\\n`.
    """

    def __init__(self, file: IO[bytes], reading: Reading, usual: str = ","):
        self.line, self.unnamed = 0, 0
        source = TextFile(file, reading.format.encoding)
        self.encoding = source.encoding
        self._exact = reading.is_data
        self._source = iter(source)
        self._looked_at: deque[TextLine] = deque()
        self._end: Unreadable | None = None  # why nothing can be read after them
        self._skipped = 0  # lines before the header
        said = self._said_delimiter()
        self.delimiter = reading.format.delimiter or said or self._found_delimiter(reading, usual)
        self._reader: Any = csv.reader(self._texts(), delimiter=self.delimiter, strict=True)
        self._record: list[str] = []  # the lines of the record that is being read
        self._size = 0  # its bytes
        self._blanks = Blanks()

    def header(self) -> list[str] | None:
        """The columns' names; None if the file is empty.

        Raises:
            InvalidRequest: it cannot be read.
        """
        try:
            cells = self.next()
        except Unreadable as error:
            message = f"the header cannot be read: {error}"
            raise InvalidRequest(message, field="file", line=1) from None
        if cells and any("\0" in cell for cell in cells):
            message = "the header has zero bytes; if the file is UTF-16, say so in format.encoding"
            raise InvalidRequest(message, code="invalid_header", field="file", line=self.line)
        if cells is None:
            return None
        names = without_empty_end(cells, 0)
        self.unnamed = len(cells) - len(names)
        return names

    def next(self) -> list[str] | None:
        """The next record's cells; None at the end.

        Raises:
            Unreadable: the next record is not CSV, or too large.
        """
        while True:
            self.line = self._reader.line_num + self._skipped + 1
            self._size, self._record = 0, []
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                raise self._broken(error) from None
            if cells is None:
                return None
            if len(cells) > MOST_COLUMNS:
                raise Unreadable(
                    f"has {len(cells):,} cells; a file may have {MOST_COLUMNS:,} columns", self.line
                )
            if any(cell and not cell.isspace() for cell in cells):
                return cells
            self._blanks.skip(self.line)

    def _look(self) -> TextLine | None:
        """The next line, which is kept for the records; None at the end."""
        try:
            line = next(self._source, None)
        except Unreadable as end:
            self._end, line = end, None
        if line is not None:
            self._looked_at.append(line)
        return line

    def _said_delimiter(self) -> str | None:
        """What the first line says, if it is none of the table's."""
        line = self._look()
        match = SAYS_DELIMITER.fullmatch(line.text) if line and not line.fault else None
        if match is None:
            return None
        self._looked_at.clear()
        self._skipped = 1
        return match[1]

    def _found_delimiter(self, reading: Reading, usual: str) -> str:
        lines = self._looked_at
        size = sum(line.size for line in lines)
        while size < SAMPLE_SIZE and len(lines) < SAMPLE_LINES:
            if (lines and lines[-1].fault) or (line := self._look()) is None:
                return self._best(reading, usual, whole=True)
            size += line.size
        return self._best(reading, usual, whole=bool(lines and lines[-1].fault))

    def _best(self, reading: Reading, usual: str, whole: bool) -> str:
        wanted = reading.mapped.values() if reading.is_data else [reading.prompt_column or PROMPT]
        texts = [line.text for line in self._looked_at]
        if texts and len(texts[-1]) > SAMPLE_SIZE:  # cut off, a line decides nothing
            texts[-1], whole = texts[-1][:SAMPLE_SIZE], False
        return find_delimiter(texts, whole, usual, wanted)

    def _texts(self) -> Iterator[str]:
        while line := self._looked_at.popleft() if self._looked_at else next(self._source, None):
            self._size += line.size
            # The reader holds a whole record, over however many lines it goes.
            if self._size > MOST_LINE + 2:
                message = (
                    f"what begins here is longer than {MOST_LINE:,} bytes; is a quote missing?"
                )
                raise Unreadable(message, self.line)
            if line.fault:
                raise Unreadable(line.fault, line.number)
            text = line.text
            if not self._exact and text.endswith("\r\n"):
                text = f"{text[:-2]}\n"
            for piece in _at_returns(text) if "\r" in text else (text,):
                self._record.append(piece)
                yield piece
        if self._end:
            raise self._end

    def _broken(self, error: csv.Error) -> Unreadable:
        found = find_broken_quote(self._record, self.delimiter)
        if found is None:
            return Unreadable(f"not valid CSV: {error}", self.line)
        line = self.line + found.line
        place = f"line {line}, column {found.column}"
        if found.is_open:
            return Unreadable(f"not valid CSV: the quote at {place} is not closed", line)
        message = (
            f"not valid CSV: at {place} text follows the end of a quoted cell; write a quote "
            "inside a cell twice"
        )
        return Unreadable(message, line)


def _at_returns(text: str) -> Iterator[str]:
    """The text, cut behind each carriage return that ends a line by itself."""
    begin = 0
    while (at := text.find("\r", begin)) >= 0:
        if text[at + 1 : at + 2] in ("\n", ""):
            break
        yield text[begin : at + 1]
        begin = at + 1
    yield text[begin:]
