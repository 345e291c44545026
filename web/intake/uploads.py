"""Reads uploaded files as drafts, a line at a time: JSONL, CSV, plain text, Parquet and XLSX.

A file is read once from front to back and never held whole. An error in a line is an error of its
draft. An error of the file as a whole is raised before the first draft, or is the fault of a last
draft, at the line where reading stopped. Blank lines are skipped; the lines after them keep their
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import IO

from common.errors import InvalidRequest
from web.intake.delimited import read_csv
from web.intake.drafts import Draft, bad_line
from web.intake.json_rows import read_jsonl
from web.intake.lines import Blanks, Unreadable, empty_file
from web.intake.parquet import read_parquet
from web.intake.reading import AS_USUAL, Reading
from web.intake.table_rows import table_rows
from web.intake.text_lines import TextFile
from web.intake.xlsx import read_xlsx
from web.schemas.tables import TableFormat

FORMATS = (
    "JSONL (.jsonl), CSV (.csv, .tsv), Excel (.xlsx), Parquet (.parquet) or text (.txt), one "
    "prompt a line"
)
# Which formats each field of `TableFormat` says something of.
SAID_OF = {
    "delimiter": ["csv", "tsv"],
    "encoding": ["csv", "tsv", "txt", "jsonl"],
    "sheet": ["xlsx"],
}
TEXT = "text"  # the variable that a line of a text file is, where there is a template


def read_upload(file: IO[bytes], filename: str, reading: Reading = AS_USUAL) -> Iterator[Draft]:
    """The drafts of a file; the end of its name says the format. Nothing is read before the first
    is asked for.

    Raises:
        InvalidRequest: the format is unknown, or the file's columns cannot be used.
    """
    try:
        yield from _read(file, filename, reading)
    except Unreadable as end:
        yield end.draft()


def read_items_file(file: IO[bytes], filename: str, reading: Reading) -> Iterator[Draft]:
    """The drafts of a file, of which there is at least one.

    Raises:
        InvalidRequest: as `read_upload`, or the file has no rows.
    """
    drafts = read_upload(file, filename, reading)
    first = next(drafts, None)
    if first is None:
        has_header = format_of(filename) not in ("jsonl", "txt")
        raise empty_file(
            "the file has no rows below its header" if has_header else "the file is empty"
        )
    yield first
    yield from drafts


def format_of(filename: str) -> str:
    """The name of a file's format, by the end of its own name.

    Raises:
        InvalidRequest: it is unknown.
    """
    suffix = PurePath(filename).suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".xlsx"):
        return suffix[1:].replace("ndjson", "jsonl")
    message = f"the file's name must say its format: {FORMATS}"
    if suffix in (".xls", ".xlsm", ".xlsb", ".ods"):
        message = f"{suffix} files are not read: save the table as .xlsx or .csv"
    raise InvalidRequest(message, status=415, code="unsupported_format", field="file")


def refuse_unused(filename: str, said: TableFormat | None) -> None:
    """Refuse what is said of a format that files of this name do not have.

    Raises:
        InvalidRequest: naming it.
    """
    kind = format_of(filename)
    for name, kinds in SAID_OF.items():
        if said is not None and getattr(said, name) is not None and kind not in kinds:
            message = f"format.{name} is for {', '.join(kinds)} files; {filename[-64:]} is none"
            raise InvalidRequest(message, code="invalid_value", field=f"format.{name}")


def _read(file: IO[bytes], filename: str, reading: Reading) -> Iterator[Draft]:
    match format_of(filename):
        case "jsonl":
            return read_jsonl(file, reading)
        case "csv":
            return read_csv(file, reading)
        case "tsv":
            return read_csv(file, reading, usual="\t")
        case "parquet":
            return read_parquet(file, reading)
        case "xlsx":
            return read_xlsx(file, reading)
        case _:
            return _text(file, reading)


def _text(file: IO[bytes], reading: Reading) -> Iterator[Draft]:
    blanks = Blanks()
    rows = table_rows([TEXT], reading) if reading.is_data else None
    for line in TextFile(file, reading.format.encoding):
        text = line.text.removesuffix("\n").removesuffix("\r")
        if line.fault:
            yield bad_line(line.number, line.fault, reading.keeps_bad_rows)
        elif not text or text.isspace():
            blanks.skip(line.number)
        else:
            yield (
                rows.draft([text], line.number)
                if rows
                else Draft({"prompt": text}, line=line.number)
            )
