"""Reads the Parquet file on its standard input and writes what it holds, in lines of JSON. Run as a
process of its own.

`reader_output.py` says in which form. About the file it writes `{"names", "kinds", "types"}` of the
columns: kinds are `text`, `scalar`, `nested`, `binary`; types are Arrow's, as text. Cells are text,
numbers, flags or null; other values become text (RFC 3339, ISO 8601, base64, JSON). With the last
argument 1 lists and objects stay what they are.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

# Bytes beside what the libraries take and twice the size of the file: one page may be the whole
# file, and is held compressed and decompressed.
MEMORY = 160 * 2**20
ROWS = 8  # read at once: each cell may be as large as a row may be
LARGE = 4 * 2**20  # bytes of so many rows, from which on each is written by itself
DEEPEST = 32  # lists and structs inside each other
DAY_ONE = datetime(1970, 1, 1)  # noqa: DTZ001  # times are computed in UTC
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
UNREADABLE = "not valid UTF-8"

# The other allocators reserve addresses beforehand, which the limit counts.
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"

import pyarrow as pa  # noqa: E402
from pyarrow import parquet, types  # noqa: E402

from web.intake.reader_output import (  # noqa: E402
    UnreadableTable,
    Value,
    as_json,
    bound,
    row_fault,
    say,
    say_unreadable,
    too_large,
    write_rows,
)


def main() -> None:
    most_columns, most_row, most_rows, keep_nested = map(int, sys.argv[1:])
    bound(MEMORY)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        source = _opened(most_columns)
        names = source.schema_arrow.names
        columns = [field.type for field in source.schema_arrow]
        kinds, kept = map(_kind, columns), map(_type, columns)
        say({"names": names, "kinds": list(kinds), "types": list(kept)})
        write_rows(_batches(source, most_row, bool(keep_nested)), most_row, most_rows)
        say("end")
    except MemoryError:
        message = (
            "the Parquet file takes too much memory to read; write it with smaller pages, "
            "or send JSONL or CSV"
        )
        say_unreadable(UnreadableTable(message))
    except UnreadableTable as error:
        say_unreadable(error)


def _opened(most_columns: int) -> parquet.ParquetFile:
    try:
        source = parquet.ParquetFile(
            Path("/dev/stdin").open("rb"),  # noqa: SIM115  # open for as long as this process is
            pre_buffer=False,
            buffer_size=2**16,
            schema_depth_limit=DEEPEST,
        )
        if source.metadata.num_columns > most_columns:
            raise UnreadableTable(
                f"the file has {source.metadata.num_columns:,} columns; it may have "
                f"{most_columns:,}"
            )
        source.schema_arrow  # noqa: B018  # raises here if the schema cannot be read
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, RecursionError) as error:
        raise UnreadableTable("this is not a Parquet file") from error
    return source


def _kind(column: pa.DataType) -> str:
    if types.is_dictionary(column):
        return _kind(column.value_type)
    if types.is_nested(column):
        return "nested"
    if (
        types.is_binary(column)
        or types.is_large_binary(column)
        or types.is_fixed_size_binary(column)
    ):
        return "binary"
    return "text" if types.is_string(column) or types.is_large_string(column) else "scalar"


def _type(column: pa.DataType) -> str:
    """A column's type as text: that of its values where they are in a dictionary."""
    return str(column.value_type if types.is_dictionary(column) else column)


def _batches(source: parquet.ParquetFile, most_row: int, keep_nested: bool) -> Iterator[bytes]:
    try:
        for batch in source.iter_batches(batch_size=ROWS, use_threads=False):
            yield from _rows(batch, most_row, keep_nested)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise UnreadableTable("the Parquet file is damaged from here on") from error


def _rows(batch: pa.RecordBatch, most_row: int, keep_nested: bool) -> Iterator[bytes]:
    """Rows as JSON; one by one where one of them is large or cannot be read."""
    columns = [plain_type(column) for column in batch.columns]
    if sum(column.nbytes for column in columns) < LARGE:
        with suppress(UnicodeDecodeError):
            yield from [
                as_json(list(row))
                for row in zip(*(_cells(each, keep_nested) for each in columns), strict=True)
            ]
            return
    for place in range(batch.num_rows):
        row = [column.slice(place, 1) for column in columns]
        if _least_size(row) > most_row:
            yield too_large(most_row)
            continue
        try:
            yield as_json([_cells(column, keep_nested)[0] for column in row])
        except UnicodeDecodeError:
            yield row_fault(UNREADABLE)


def _least_size(row: list[pa.Array]) -> int:
    """A lower bound of the bytes of a row as JSON. Text is as long there or longer; a number of
    eight bytes may be one digit."""
    return sum(
        column.nbytes // (1 if _kind(column.type) in ("text", "binary") else 4) for column in row
    )


def _cells(column: pa.Array, keep_nested: bool) -> list[Value]:
    cells = plain(column)
    if keep_nested or _kind(column.type) != "nested":
        return cells
    return [None if cell is None else as_json(cell).decode() for cell in cells]


# Arrow's types as JSON's


def plain_type(array: pa.Array) -> pa.Array:
    """The array in plain storage: dictionaries are decoded."""
    return array.dictionary_decode() if types.is_dictionary(array.type) else array


def plain(array: pa.Array) -> list[Value]:
    """The values of an array as values of JSON."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        is_uuid = kind.extension_name == "arrow.uuid"
        return (
            _each(array.storage, lambda raw: str(uuid.UUID(bytes=raw)))
            if is_uuid
            else plain(array.storage)
        )
    if types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    if types.is_struct(kind):
        return _structs(array)
    if types.is_map(kind):
        return [None if pairs is None else dict(map(_pair, pairs)) for pairs in _lists(array)]
    if types.is_nested(kind):
        return _lists(array)
    return _leaves(array)


def _leaves(array: pa.Array) -> list[Value]:
    kind = array.type
    if types.is_timestamp(kind):
        zone = "Z" if kind.tz else ""
        return _each(array.cast(pa.int64()), lambda count: _moment(count, kind.unit) + zone)
    if types.is_date(kind):
        return array.cast(pa.string()).to_pylist()
    if types.is_time(kind):
        return [text and _shortened(text) for text in array.cast(pa.string()).to_pylist()]
    if types.is_duration(kind):
        return _each(array.cast(pa.int64()), lambda count: f"PT{_seconds(count, kind.unit)}S")
    if types.is_decimal(kind):
        return _each(array, lambda number: format(number, "f"))
    if types.is_floating(kind):
        return _each(array, _number)
    values = array.to_pylist()
    if any(isinstance(value, bytes) for value in values):
        return [None if value is None else base64.b64encode(value).decode() for value in values]
    return values


def _each(array: pa.Array, change: Callable[[Any], Value]) -> list[Value]:
    return [None if value is None else change(value) for value in array.to_pylist()]


def _structs(array: pa.StructArray) -> list[Value]:
    names = [array.type.field(place).name for place in range(array.type.num_fields)]
    rows = zip(*map(plain, array.flatten()), strict=True)
    valid = array.is_valid().to_pylist()
    return [
        dict(zip(names, row, strict=True)) if there else None
        for row, there in zip(rows, valid, strict=True)
    ]


def _lists(array: pa.Array) -> list[Value]:
    """Lists and, as lists of structs of `key` and `value`, maps."""
    return [plain(scalar.values) if scalar.is_valid else None for scalar in array]


def _pair(entry: dict[str, Value]) -> tuple[str, Value]:
    key = entry["key"]
    return key if isinstance(key, str) else json.dumps(key), entry["value"]


def _number(value: float) -> Value:
    """A number as JSON can have it. NaN is how an empty cell among numbers is written."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _moment(count: int, unit: str) -> str:
    """A time since 1970 as RFC 3339 writes it; as seconds where Python's calendar lacks its
    year."""
    digits = DIGITS[unit]
    seconds, part = divmod(count, 10**digits)
    try:
        text = (DAY_ONE + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return _seconds(count, unit)
    return _shortened(f"{text}.{part:0{digits}}") if part else text


def _seconds(count: int, unit: str) -> str:
    digits = DIGITS[unit]
    seconds, part = divmod(abs(count), 10**digits)
    return "-" * (count < 0) + (_shortened(f"{seconds}.{part:0{digits}}") if part else str(seconds))


def _shortened(text: str) -> str:
    """A number without zeros at the end of its fraction."""
    return text.rstrip("0").rstrip(".") if "." in text else text


if __name__ == "__main__":
    main()
