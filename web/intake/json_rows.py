"""Reads JSONL files as drafts: a line is an item, or, with a template or a mapping, a row of
columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from web.intake.columns import MissingColumn
from web.intake.drafts import Draft, bad_line
from web.intake.lines import Blanks, Unreadable
from web.intake.reading import Reading
from web.intake.strict_json import BadJson, parse
from web.intake.table_rows import RowMapping
from web.intake.text_lines import TextFile


def read_jsonl(file: IO[bytes], reading: Reading) -> Iterator[Draft]:
    """A draft of each line that is not blank."""
    rows = JsonRows(reading) if reading.is_data else None
    for number, value in json_values(file, reading):
        if isinstance(value, BadJson):
            yield bad_line(number, str(value), reading.keeps_bad_rows)
        elif rows and isinstance(value, dict) and not isinstance(value.get("vars"), dict):
            yield rows.draft(value, number)
        else:
            yield Draft(value, line=number)
    if rows and (missing := rows.missing()):
        yield missing


def json_values(file: IO[bytes], reading: Reading) -> Iterator[tuple[int, Any]]:
    """The value of each line that is not blank, with the line; or what is wrong with it."""
    blanks = Blanks()
    for number, raw in _lines(TextFile(file, reading.format.encoding)):
        if not raw or raw.isspace():
            blanks.skip(number)
            continue
        try:
            yield number, parse(raw)
        except BadJson as error:
            yield number, error


def _lines(source: TextFile) -> Iterator[tuple[int, bytes | str]]:
    """UTF-8 is decoded with its JSON, which says the place of an error in a line."""
    if source.encoding == "utf-8":
        yield from source.raw_lines()
        return
    for line in source:
        if line.fault:
            raise Unreadable(line.fault, line.number)
        yield line.number, line.text


class JsonRows:
    """Rows of columns as JSON objects. There is no header: a name that a row lacks has no value in
    it."""

    def __init__(self, reading: Reading):
        self._mapping = RowMapping(reading)
        self._unseen = dict(self._mapping.options)
        self._first: list[str] | None = None  # the names of the first row

    def draft(self, row: dict[str, Any], line: int) -> Draft:
        if self._first is None:
            self._first = list(row)
        if self._unseen:
            unseen = self._unseen.items()
            self._unseen = {option: column for option, column in unseen if column not in row}
        return self._mapping.draft(row, line)

    def missing(self) -> Draft | None:
        """The error of a mapped column that no row had."""
        if self._first is None or not self._unseen:
            return None
        option, column = next(iter(self._unseen.items()))
        error = MissingColumn(option, column, self._first)
        return Draft(fault=error.message, code=error.code, field=option)
