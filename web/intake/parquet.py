"""Reads Parquet files as drafts, a row at a time: `parquet_reader.py` decodes them in a process of
its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from common.errors import InvalidRequest
from web.intake.columns import MOST_COLUMNS
from web.intake.drafts import Draft
from web.intake.lines import MOST_LINE
from web.intake.reader_process import MOST_ROWS, FileReader, file_reader
from web.intake.reading import Reading
from web.intake.table_rows import row_draft, table_rows

READER = "web.intake.parquet_reader"


def read_parquet(file: IO[bytes], reading: Reading) -> Iterator[Draft]:
    """A draft of each row. Nothing is read before the first is asked for.

    Raises:
        InvalidRequest: it is not a Parquet file, its columns cannot be used, or pyarrow is not
        installed.
        Unavailable: other files are being read, as many as may be.
    """
    with open_parquet(file, reading) as source:
        names = source.header["names"]
        kinds, types = (
            dict(zip(names, source.header[each], strict=True)) for each in ("kinds", "types")
        )
        rows = table_rows(names, reading, kinds, types)
        for line, row in source.rows():
            yield row_draft(rows, row, line)


@contextmanager
def open_parquet(file: IO[bytes], reading: Reading) -> Iterator[FileReader]:
    """The reader of a Parquet file. Where columns are data, lists and structs stay what they are;
    else they become text."""
    if importlib.util.find_spec("pyarrow") is None:
        message = (
            "this server has no pyarrow to read Parquet with: install it there, or send "
            "JSONL or CSV"
        )
        raise InvalidRequest(message, status=415, code="parquet_unavailable", field="file")
    limits = MOST_COLUMNS, MOST_LINE, MOST_ROWS
    with file_reader(READER, file, "Parquet", *limits, int(reading.is_data)) as source:
        yield source
