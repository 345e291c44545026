"""Reads a sheet of the XLSX file on its standard input and writes what it holds, in lines of JSON.
Run as a process of its own.

`reader_output.py` says in which form. About the file it first writes `{"sheet", "sheets"}`, then,
once the sheet is decoded, `{"names"}` of its columns. Cells are text, numbers, flags or null, as
the sheet has them; dates, times and errors (#N/A) become text. Formulas are not evaluated: a cell
has the value that was stored with it.
"""

from __future__ import annotations

import math
import sys
import zipfile
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import IO, Any

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from web.intake.reader_output import (
    UnreadableTable,
    Value,
    as_json,
    bound,
    row_fault,
    say,
    say_unreadable,
    write_rows,
)
from web.intake.xlsx_cells import cells_taken_for_empty

# Bytes beside what the libraries take and twice the size of the file: a sheet is decoded whole, and
# a cell of it takes some 130 bytes.
MEMORY = 448 * 2**20
MOST_CELLS = 2_000_000  # of a sheet, empty ones between others among them
MOST_SHEETS = 256
MOST_ENTRIES = 4096  # files inside the file
MOST_UNPACKED = 2**30  # bytes
MOST_RATIO = 250  # times that a part of the file may grow when unpacked; XML grows 10 to 50 times
SMALL = 2**24  # bytes of a part that may grow more
OLD = b"\xd0\xcf\x11\xe0"  # how files of old programs begin, and files that need a password
NO_VALUE = (
    "whose value is not in the file: save it with a spreadsheet program, or write texts that "
    "begin with = as texts"
)
INSTEAD = "save the sheet as CSV"


def main() -> None:
    most_columns, most_row, most_rows = map(int, sys.argv[1:4])
    bound(MEMORY)
    try:
        with Path("/dev/stdin").open("rb") as file:
            sheet = _sheet(file, sys.argv[4] if len(sys.argv) > 4 else None)
            _refuse_wide(sheet, most_columns)
            unseen = cells_taken_for_empty(file, sheet.name)
            rows = _filled(sheet, unseen.errors)
            _, header = next(rows, (1, []))
            names = _names(header)
            say({"names": names})
            write_rows(_lines(rows, len(names), unseen.formulas), most_row, most_rows)
        say("end")
    except MemoryError:
        say_unreadable(UnreadableTable(f"the sheet takes too much memory to read; {INSTEAD}"))
    except UnreadableTable as error:
        say_unreadable(error)


def _sheet(file: IO[bytes], wanted: str | None) -> CalamineSheet:
    """The sheet of this name, else the first that is not hidden. Says which it is before it is
    decoded, which may end this process."""
    _refuse_bombs(file)
    file.seek(0)
    try:
        book = CalamineWorkbook.from_filelike(file)
        sheets = [each for each in book.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet]
        names = [each.name for each in sheets]
        if len(names) > MOST_SHEETS:
            raise UnreadableTable(f"the file has {len(names):,} sheets; it may have {MOST_SHEETS}")
        if wanted is not None and wanted not in names:
            had = ", ".join(name[:64] for name in names[:20])
            message = f"there is no sheet {wanted[:64]!r}: the file has {had}"
            raise UnreadableTable(message, code="missing_sheet", field="format.sheet")
        shown = [each.name for each in sheets if each.visible == SheetVisibleEnum.Visible]
        name = wanted or next(iter([*shown, *names]), None)
        if name is None:
            raise UnreadableTable("the file has no sheet")
        say({"sheet": name, "sheets": names})
        return book.get_sheet_by_name(name)
    except PasswordError as error:
        raise UnreadableTable("the file is protected with a password") from error
    except CalamineError as error:
        raise UnreadableTable("this is not an XLSX file, or it is damaged") from error


def _refuse_bombs(file: IO[bytes]) -> None:
    """Refuse what is sure to grow too much. What a file says of its sizes may be untrue: the limits
    of this process hold for that."""
    if file.read(len(OLD)) == OLD:
        raise UnreadableTable(
            "the file is protected with a password, or an old .xls file: save it as .xlsx or .csv"
        )
    try:
        parts = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnreadableTable("this is not an XLSX file") from error
    if not any(part.filename == "xl/workbook.xml" for part in parts):
        raise UnreadableTable("this is not an XLSX file")
    unpacked = sum(part.file_size for part in parts)
    grows = any(part.file_size > max(SMALL, MOST_RATIO * part.compress_size) for part in parts)
    if grows or len(parts) > MOST_ENTRIES or unpacked > MOST_UNPACKED:
        raise UnreadableTable(
            f"the file grows to {unpacked / 2**20:,.0f} MiB when it is unpacked, which is too "
            f"much; {INSTEAD}"
        )


def _refuse_wide(sheet: CalamineSheet, most_columns: int) -> None:
    if sheet.width > most_columns:
        raise UnreadableTable(
            f"the sheet has {sheet.width:,} columns; it may have {most_columns:,}"
        )
    if sheet.width * sheet.height > MOST_CELLS:
        raise UnreadableTable(
            f"the sheet has {sheet.width * sheet.height:,} cells; it may have {MOST_CELLS:,}: "
            f"{INSTEAD}"
        )


def _filled(
    sheet: CalamineSheet, errors: Mapping[int, Mapping[int, str]]
) -> Iterator[tuple[int, list[Value]]]:
    """The rows that are not blank, each with its line. `errors` are the texts of cells that have
    no value but an error, by line and column of the sheet."""
    left = sheet.start[1] if sheet.start else 0
    # It begins with the first row of the sheet, even if that is empty, and with the first column
    # that is not.
    for line, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_value(cell) for cell in row]
        for column, text in errors[line].items() if line in errors else ():
            if 0 <= column - left < len(cells) and cells[column - left] is None:
                cells[column - left] = text
        if any(
            cell is not None and not (isinstance(cell, str) and cell.isspace()) for cell in cells
        ):
            yield line, cells


def _names(header: list[Value]) -> list[str]:
    """The columns' names, without empty ones at the end."""
    names = [
        "" if cell is None else cell if isinstance(cell, str) else _text(cell) for cell in header
    ]
    while names and not names[-1]:
        names.pop()
    return names


def _text(cell: Value) -> str:
    return as_json(cell).decode()


def _lines(
    rows: Iterator[tuple[int, list[Value]]], width: int, formulas: Mapping[int, str]
) -> Iterator[bytes]:
    """Rows as JSON, and the line of a row that does not follow the one before it. `formulas` are
    those without a value, by line."""
    expected = 1
    for line, cells in rows:
        if line != expected:
            yield as_json(line)
        expected = line + 1
        while len(cells) > width and cells[-1] is None:
            cells.pop()
        if line in formulas:
            yield row_fault(f"the cell {formulas[line]} is a formula {NO_VALUE}", cells)
        else:
            yield as_json(cells)


def _value(cell: Any) -> Value:
    match cell:
        case "":
            return None
        case bool() | str() | int():
            return cell
        case float():
            return _number(cell)
        case datetime():
            return _shortened(cell.isoformat())
        case time():
            return _shortened(cell.isoformat())
        case date():
            return cell.isoformat()
        case timedelta():
            return f"PT{_number(cell.total_seconds())}S"
        case _:
            return str(cell)


def _shortened(text: str) -> str:
    """A time without zeros at the end of its fraction."""
    return text.rstrip("0") if "." in text else text


def _number(value: float) -> Value:
    """A number as a sheet shows it: whole ones without a fraction, and an error for what is none
    that a sheet can have."""
    if not math.isfinite(value):
        return "#NUM!"
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


if __name__ == "__main__":
    main()
