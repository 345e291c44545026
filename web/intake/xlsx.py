"""Reads XLSX files as drafts, a row at a time: `xlsx_reader.py` decodes them in a process of its
own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from common.errors import InvalidRequest
from web.intake.columns import MOST_COLUMNS
from web.intake.drafts import Draft
from web.intake.lines import MOST_LINE, empty_file
from web.intake.reader_process import MOST_ROWS, FileReader, file_reader
from web.intake.reading import Reading
from web.intake.table_rows import row_draft, table_rows

READER = "web.intake.xlsx_reader"


def read_xlsx(file: IO[bytes], reading: Reading) -> Iterator[Draft]:
    """A draft of each row of a sheet. Nothing is read before the first is asked for.

    Raises:
        InvalidRequest: it is not an XLSX file, its columns cannot be used, or calamine is not
        installed.
        Unavailable: other files are being read, as many as may be.
    """
    with open_xlsx(file, reading) as source:
        names = source.next_header()["names"]
        if not names:
            raise empty_file("the sheet is empty")
        rows = table_rows(names, reading)
        for line, row in source.rows():
            yield row_draft(rows, row, line)


@contextmanager
def open_xlsx(file: IO[bytes], reading: Reading) -> Iterator[FileReader]:
    """The reader of a sheet, whose header says which sheets the file has."""
    if importlib.util.find_spec("python_calamine") is None:
        message = (
            "this server has no calamine to read XLSX with: install it there, or save the sheet as "
            "CSV"
        )
        raise InvalidRequest(message, status=415, code="xlsx_unavailable", field="file")
    sheet = [reading.format.sheet] if reading.format.sheet else []
    limits = MOST_COLUMNS, MOST_LINE, MOST_ROWS
    with file_reader(READER, file, "XLSX", *limits, *sheet) as source:
        yield source
