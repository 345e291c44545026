"""Makes columns of Arrow of the values of JSON that a Parquet file was read into: the other way of
`web/intake/parquet_reader.py`. Imports pyarrow."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import types

from web.jobs.result_table import cell_text

INFINITIES = {"Infinity": float("inf"), "-Infinity": float("-inf")}
ZONED = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]")
SIZED = re.compile(r"fixed_size_binary\[(\d+)\]")
DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)")
LIST = re.compile(r"(large_)?list<[^:<>]*: (.*?)( not null)?>")
FIXED_LIST = re.compile(r"fixed_size_list<[^:<>]*: (.*?)( not null)?>\[\d+\]")
UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}  # decimals of a second


def type_of(text: str) -> pa.DataType:
    """The type that Arrow writes as this text. Text for one that is not known here: its values are
    text already, or become JSON."""
    if match := ZONED.fullmatch(text):
        return pa.timestamp(match[1], match[2])
    if match := SIZED.fullmatch(text):
        return pa.binary(int(match[1]))
    if match := DECIMAL.fullmatch(text):
        return (pa.decimal256 if match[1] == "256" else pa.decimal128)(int(match[2]), int(match[3]))
    if match := LIST.fullmatch(text):
        return (pa.large_list if match[1] else pa.list_)(type_of(match[2]))
    if match := FIXED_LIST.fullmatch(text):
        return pa.list_(type_of(match[1]))
    if text.startswith("struct<") and text.endswith(">"):
        fields = [_field(part) for part in _parts(text[len("struct<") : -1])]
        known = [field for field in fields if field is not None]
        return pa.struct(known) if known and len(known) == len(fields) else pa.string()
    try:
        return pa.type_for_alias(text)
    except ValueError:
        return pa.string()


def _field(text: str) -> pa.Field | None:
    name, colon, kind = text.partition(": ")
    return pa.field(name, type_of(kind.removesuffix(" not null"))) if colon else None


def _parts(text: str) -> list[str]:
    """The fields of a struct: cut at the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "<[(") - (character in ">])")
        if text[place : place + 2] == ", " and depth == 0:
            parts.append(text[start:place])
            start = place + 2
    return [*parts, text[start:]]


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values as a column; null for one that is none of this type, as items that were added
    later may have."""
    try:
        return _array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, ArithmeticError, AttributeError):
        if len(values) == 1:
            return pa.nulls(1, kind)
        return pa.concat_arrays([array_of([value], kind) for value in values])


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if types.is_list(kind) or types.is_large_list(kind):
        return _lists(values, kind)
    if types.is_struct(kind):
        return _structs(values, kind)
    if types.is_string(kind) or types.is_large_string(kind):
        return pa.array(_each(values, cell_text), kind)
    if types.is_timestamp(kind) or types.is_date(kind):
        return pa.array(values, pa.string()).cast(kind)
    if types.is_duration(kind) or types.is_time(kind):
        counts = _each(values, lambda text: _count(text, kind.unit))
        return pa.array(counts, pa.int32() if types.is_time32(kind) else pa.int64()).cast(kind)
    if types.is_decimal(kind):
        return pa.array(_each(values, Decimal), kind)
    if types.is_floating(kind):
        return pa.array([INFINITIES.get(value, value) for value in values], pa.float64()).cast(kind)
    if _is_bytes(kind):
        return pa.array(_each(values, lambda text: base64.b64decode(text, validate=True)), kind)
    return pa.array(values, kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _each(values: Sequence[Any], change: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else change(value) for value in values]


def _lists(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    inside: list[Any] = []
    offsets: list[int | None] = []
    for value in values:
        offsets.append(None if value is None else len(inside))
        if not isinstance(value, list | type(None)):
            raise TypeError("not a list")
        inside += value or ()
    wide = types.is_large_list(kind)
    places = pa.array([*offsets, len(inside)], pa.int64() if wide else pa.int32())
    made = pa.LargeListArray if wide else pa.ListArray
    return made.from_arrays(places, _array(inside, kind.value_type))


def _structs(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    fields = list(kind)
    columns = [
        _array([value and value.get(field.name) for value in values], field.type)
        for field in fields
    ]
    missing = pa.array([value is None for value in values])
    return pa.StructArray.from_arrays(columns, fields=fields, mask=missing)


def _count(text: str, unit: str) -> int:
    """A time of day (`12:30:00.5`), or ISO 8601's `PT12.5S`, in units."""
    seconds = Decimal(0)
    for part in text.removeprefix("PT").removesuffix("S").split(":"):
        seconds = seconds * 60 + Decimal(part)
    return int(seconds.scaleb(UNITS[unit]))
