"""Parquet files: read like CSV, and bounded before they are unpacked."""

from __future__ import annotations

import resource

import psutil
import pyarrow as pa
import pytest

from tests.support.uploads import faults, items_of, table
from tests.support.web import Web


def test_parquet_is_read_like_csv(web: Web) -> None:
    content = table(custom_id=[1, 2], prompt=["a", "b"], n=[2, None], team=["red", None])
    assert items_of(web, "batch.parquet", content) == [
        {"custom_id": "1", "prompt": "a", "params": {"n": 2}, "metadata": {"team": "red"}},
        {"custom_id": "2", "prompt": "b", "metadata": {"team": None}},
    ]


def test_bad_parquet_rows_are_listed(web: Web) -> None:
    found = faults(
        web, "batch.parquet", table(prompt=["a", None, ""], temperature=[1.0, 1.0, float("nan")])
    )
    assert {line for line, _ in found} == {2, 3}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_what_is_no_parquet_is_refused(web: Web, content: bytes) -> None:
    assert faults(web, "batch.parquet", content) == [(None, "this is not a Parquet file")]


def repeated(cell: str, rows: int, columns: int) -> bytes:
    """A table of some KB whose cells are all the same one."""
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([cell]))
    return table(**dict.fromkeys(["prompt", "a", "b", "c"][:columns], cells))


@pytest.mark.parametrize("columns", [1, 4])
def test_what_a_small_parquet_file_expands_to_is_bounded(web: Web, columns: int) -> None:
    content = repeated("x" * 5_000_000, 256, columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = faults(web, "a.parquet", content)
    assert found[0][0] == 1 and ("longer than" in found[0][1] or "too much memory" in found[0][1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def test_a_parquet_row_that_would_fill_the_memory_is_refused(web: Web) -> None:
    flags = pa.Array.from_buffers(pa.bool_(), 30_000_000, [None, pa.py_buffer(bytes(3_750_000))])
    content = table(
        prompt=["a"], flags=pa.ListArray.from_arrays(pa.array([0, 30_000_000], pa.int32()), flags)
    )
    assert len(content) < 2**20
    ((line, message),) = faults(web, "a.parquet", content)
    assert line == 1 and "too much memory" in message


def test_rows_that_are_each_in_bounds_have_a_bound_together(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.intake.parquet.MOST_ROWS", 1000)
    # 50 bytes each as JSON.
    ((line, message),) = faults(web, "a.parquet", repeated("x" * 46, 64, 1))
    assert line == 22 and "split the file" in message


def test_a_table_of_too_many_columns_is_refused_before_it_is_read(web: Web) -> None:
    for name, content in (
        ("a.parquet", table(prompt=["a"], **{f"c{number}": [1] for number in range(2000)})),
        ("a.csv", b"prompt" + b"," * 500 + b"x" + b"," * 1600 + b"x\n"),
    ):
        ((_, message),) = faults(web, name, content)
        assert "1,000" in message
    ((line, message),) = faults(web, "a.csv", b"prompt\na\n" + b"," * 3_000_000 + b"\nb\n")
    assert line == 3 and "3,000,001 cells" in message


def test_a_parquet_type_that_is_nested_too_deeply_is_refused(web: Web) -> None:
    deep = pa.array([1])
    for _ in range(100):
        deep = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), deep)
    assert faults(web, "a.parquet", table(prompt=["a"], deep=deep)) == [
        (None, "this is not a Parquet file")
    ]


def test_no_reader_of_a_parquet_file_outlives_its_request(web: Web) -> None:
    faults(web, "a.parquet", table(question=["a"] * 100_000))
    faults(web, "a.parquet", table(prompt=[""] * 100_000))
    assert not [
        child
        for child in psutil.Process().children()
        if "parquet_reader" in " ".join(child.cmdline())
    ]
