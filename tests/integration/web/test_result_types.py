"""Parquet results of a job made of a Parquet file: its columns have their types again."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.columns import table_job
from tests.support.web import Web
from web.intake.parquet_reader import plain
from web.jobs.arrow_values import array_of, type_of


def results(web: Web, job: str) -> pa.Table:
    return parquet.read_table(pa.BufferReader(web.get(f"/v1/jobs/{job}/results.parquet").data))


def test_columns_of_a_parquet_file_have_their_types_again(web: Web) -> None:
    columns: dict[str, tuple[str, list[Any], list[Any]]] = {
        # name: Arrow's type, values as JSON, and as Python reads them
        "int": ("int64", [1, None], [1, None]),
        "small": ("uint8", [255, 0], [255, 0]),
        "float": ("double", [1.0, "-Infinity"], [1.0, float("-inf")]),
        "flag": ("bool", [True, None], [True, None]),
        "text": ("string", ["007", ""], ["007", ""]),
        "large": ("large_string", ["x", None], ["x", None]),
        "list": ("list<element: int64>", [[1, None], []], [[1, None], []]),
        "nested": ("list<item: list<item: string>>", [[["a"]], None], [[["a"]], None]),
        "struct": (
            "struct<a: int64, b: struct<c: string, d: list<item: double>>>",
            [{"a": 1, "b": {"c": "x", "d": [0.5]}}, None],
            [{"a": 1, "b": {"c": "x", "d": [0.5]}}, None],
        ),
        "bytes": ("binary", ["AAH/", None], [b"\x00\x01\xff", None]),
        "odd": ("extension<unheard.of>", ["x", {"a": 1}], ["x", '{"a": 1}']),
    }
    rows = list(zip(*(values for _, values, _ in columns.values()), strict=True))
    types = {name: kind for name, (kind, _, _) in columns.items()}
    job = table_job(web, list(columns), rows, types=types)
    web.worker().run()
    found = results(web, job)
    for name, (kind, _, values) in columns.items():
        assert found.column(name).to_pylist() == values
        if name != "odd":
            # Parquet calls what is in a list `element`.
            shown = str(found.schema.field(name).type)
            assert shown.replace("element", "item") == kind.replace("element", "item")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.timestamp("us", "UTC"), [1_700_000_000_123_456, None]),
        (pa.timestamp("ms"), [1_700_000_000_100, 0]),
        (pa.timestamp("ns", "Europe/Berlin"), [1_700_000_000_000_000_001, None]),
        (pa.date32(), [19_000, None]),
        (pa.time64("us"), [45_000_500_000, 0]),
        (pa.time32("s"), [45_000, None]),
        (pa.duration("ms"), [5_400_500, -1]),
        (pa.decimal128(5, 2), [1250, None]),
    ],
    ids=str,
)
def test_times_have_their_types_again(kind: pa.DataType, values: list[Any]) -> None:
    if pa.types.is_decimal(kind):
        sent = pa.array([Decimal("12.50"), None], kind)
    else:
        width = pa.int32() if kind in (pa.date32(), pa.time32("s")) else pa.int64()
        sent = pa.array(values, width).cast(kind)
    assert type_of(str(kind)) == kind
    assert array_of(plain(sent), type_of(str(kind))).equals(sent)


def test_a_cell_of_another_type_is_null_in_parquet_and_spoils_no_other(web: Web) -> None:
    types = {"n": "int64", "l": "list<item: int64>"}
    rows: list[list[Any]] = [[1, [1]], ["many", "no list"], [3, ["x"]]]
    job = table_job(web, ["n", "l"], rows, types=types)
    web.worker().run()
    found = results(web, job)
    assert found.column("n").to_pylist() == [1, None, 3]
    assert found.column("l").to_pylist() == [[1], None, None]
