"""Looks into a table: its format as it was found, its columns and its first rows, for people who
are about to say what the columns mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any

from web.intake.columns import MOST_COLUMNS
from web.intake.delimited import Records
from web.intake.drafts import Draft
from web.intake.json_rows import json_values
from web.intake.lines import Blanks, Unreadable
from web.intake.parquet import open_parquet
from web.intake.reading import Reading
from web.intake.strict_json import BadJson
from web.intake.table_rows import refuse_names
from web.intake.text_lines import TextFile
from web.intake.uploads import TEXT, format_of
from web.intake.xlsx import open_xlsx
from web.schemas.tables import ColumnMapping, TableFormat

MOST_SHOWN = 20  # rows
LONGEST_SHOWN = 1000  # characters of a cell
JSON_LOOKED_AT = 100  # lines of a JSONL file whose names are its columns


@dataclass(frozen=True)
class ShownRow:
    """`cells` by column, long texts cut; or `fault` says why the row cannot be read."""

    line: int
    cells: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None


@dataclass
class Inspection:
    """What was found in a file. `types` are Arrow's, of a Parquet file."""

    format: str  # jsonl, csv, tsv, txt, parquet or xlsx
    columns: list[str] = field(default_factory=list)
    rows: list[ShownRow] = field(default_factory=list)
    delimiter: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    sheets: list[str] = field(default_factory=list)
    types: dict[str, str] | None = None


def inspect_table(
    file: IO[bytes], filename: str, wanted: TableFormat | None = None, rows: int = 3
) -> Inspection:
    """The format of a file and its first rows, 20 at most, as they are where every column is data;
    `wanted` is what the user said of the format. It reads no further than it must.

    Raises:
        InvalidRequest: the format is unknown, or there is no header that can be used.
        Unavailable: other files are being read, as many as may be.
    """
    reading = Reading(
        columns=ColumnMapping.model_validate({}),
        format=wanted or TableFormat.model_validate({}),
    )
    rows = min(rows, MOST_SHOWN)
    match format_of(filename):
        case "csv" | "tsv" as kind:
            return _delimited(kind, file, reading, rows)
        case "jsonl":
            return _json(file, reading, rows)
        case "parquet":
            return _parquet(file, reading, rows)
        case "xlsx":
            return _xlsx(file, reading, rows)
        case kind:
            return _text(kind, file, reading, rows)


def _delimited(kind: str, file: IO[bytes], reading: Reading, rows: int) -> Inspection:
    records = Records(file, reading, "\t" if kind == "tsv" else ",")
    names = records.header() or []
    refuse_names(names)
    found = Inspection(kind, names, delimiter=records.delimiter, encoding=records.encoding)
    try:
        for _ in range(rows):
            if (cells := records.next()) is None:
                break
            found.rows.append(_row(records.line, names, cells))
    except Unreadable as error:
        found.rows.append(ShownRow(error.line, fault=str(error)))
    return found


def _json(file: IO[bytes], reading: Reading, rows: int) -> Inspection:
    found = Inspection("jsonl")
    names: dict[str, None] = {}
    try:
        for number, value in islice(json_values(file, reading), JSON_LOOKED_AT):
            if isinstance(value, dict):
                given = value.get("vars")
                cells = given if isinstance(given, dict) else value
                names |= dict.fromkeys(cells)
                shown = ShownRow(number, {name: _shown(cell) for name, cell in cells.items()})
            else:
                why = str(value) if isinstance(value, BadJson) else "a line must be an object"
                shown = ShownRow(number, fault=why)
            if len(found.rows) < rows:
                found.rows.append(shown)
    except Unreadable as error:
        if len(found.rows) < rows:
            found.rows.append(ShownRow(error.line, fault=str(error)))
    found.columns = list(names)[:MOST_COLUMNS]
    return found


def _text(kind: str, file: IO[bytes], reading: Reading, rows: int) -> Inspection:
    source = TextFile(file, reading.format.encoding)
    found = Inspection(kind, [TEXT], encoding=source.encoding)
    blanks = Blanks()
    try:
        for line in source:
            if len(found.rows) >= rows:
                break
            text = line.text.rstrip("\r\n")
            if line.fault or (text and not text.isspace()):
                cells = {} if line.fault else {TEXT: _shown(text)}
                found.rows.append(ShownRow(line.number, cells, line.fault))
            else:
                blanks.skip(line.number)
    except Unreadable as error:
        found.rows.append(ShownRow(error.line, fault=str(error)))
    return found


def _parquet(file: IO[bytes], reading: Reading, rows: int) -> Inspection:
    with open_parquet(file, reading) as source:
        names = source.header["names"]
        refuse_names(names)
        types = dict(zip(names, source.header["types"], strict=True))
        return Inspection("parquet", names, _first(names, source.rows(), rows), types=types)


def _xlsx(file: IO[bytes], reading: Reading, rows: int) -> Inspection:
    with open_xlsx(file, reading) as source:
        names = source.next_header()["names"]
        refuse_names(names)
        found = Inspection("xlsx", names, _first(names, source.rows(), rows))
        found.sheet, found.sheets = source.header["sheet"], source.header["sheets"]
        return found


def _first(
    names: list[str], rows: Iterator[tuple[int, list[Any] | Draft]], count: int
) -> list[ShownRow]:
    return [
        _row(line, names, row)
        if isinstance(row, list)
        else ShownRow(line, fault=row.fault or (row.refused or {"message": ""})["message"])
        for line, row in islice(rows, count)
    ]


def _row(line: int, names: list[str], cells: list[Any]) -> ShownRow:
    shown = {name: _shown(cell) for name, cell in zip(names, cells, strict=False)}
    return ShownRow(line, shown)


def _shown(cell: Any) -> Any:
    """A cell, cut to what a page can show."""
    if not isinstance(cell, str | list | dict):
        return cell
    text = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
    return cell if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
