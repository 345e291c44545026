"""No uploaded table stops the web tier for others: each is refused in bounded memory while another
tenant is served."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from pyarrow import parquet

from cli.valkey import Valkey
from tests.field.pressed import Pressed, Sent
from tests.support.sheets import claiming, long_cell, sheet

MB = 2**20
# Seconds that another tenant's request may take on a loaded machine; alone it is below one.
WAIT = 2.0
GROWTH = 300 * MB


def upload(name: str, content: bytes) -> Sent:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    head = f"--border\r\n{disposition}\r\n\r\n".encode()
    return Sent(
        "/v1/jobs", head + content + b"\r\n--border--\r\n", "multipart/form-data; boundary=border"
    )


def repeated(columns: int) -> bytes:
    """Some KB that hold 256 rows of 5 MB a column."""
    cells = pa.DictionaryArray.from_arrays(
        pa.array([0] * 256, pa.int32()), pa.array(["x" * 5_000_000])
    )
    sink = io.BytesIO()
    parquet.write_table(pa.table(dict.fromkeys(["prompt", "a", "b", "c"][:columns], cells)), sink)
    return sink.getvalue()


def far_corner() -> bytes:
    """A sheet of two cells, and of millions of empty ones between them."""
    corners = b'<row r="%d"><c r="%b"><v>1</v></c></row>'
    return sheet(corners % (1, b"A1") + corners % (1_048_576, b"XFD1048576"))


CASES: dict[str, Callable[[], Sent]] = {
    "a parquet value in many rows": lambda: upload("a.parquet", repeated(1)),
    "parquet values in many rows and columns": lambda: upload("a.parquet", repeated(4)),
    "a sheet with a far corner": lambda: upload("a.xlsx", far_corner()),
    "a sheet of a long cell": lambda: upload("a.xlsx", long_cell()),
    "a sheet of a long cell that claims less": lambda: upload("a.xlsx", claiming(long_cell(), 9)),
    "utf-16 without line ends": lambda: upload("a.csv", "x".encode("utf-16") * 20_000_000),
    "a thousand delimiters": lambda: upload("a.csv", b",;|\t" * 250 + b"\n" + b'"\n' * 10_000_000),
    "a row of cells": lambda: upload("a.csv", b"prompt\n" + b"," * 38_000_000),
    "rows of cells": lambda: upload("a.csv", b"prompt\n" + (b"," * 4_100_000 + b"\n") * 20),
    "a header of cells": lambda: upload("a.csv", b"," * 4_100_000 + b"\n"),
    "a row over a million lines": lambda: upload("a.csv", b"prompt\n" + b'"\n",' * 2_000_000),
    "blank lines": lambda: upload("a.jsonl", b"\n" * 80_000_000),
    "lines of empty messages": lambda: upload(
        "a.jsonl", (b'{"messages":[' + b"{}," * 1_300_000 + b"{}]}\n") * 6
    ),
}


@pytest.fixture(scope="module")
def pressed(valkey: Valkey) -> Iterator[Pressed]:
    process = Pressed(valkey.url)
    yield process
    process.empty()
    process.stop()


@pytest.mark.parametrize("case", CASES)
def test_a_table_that_holds_too_much_is_refused_while_others_are_served(
    pressed: Pressed, case: str
) -> None:
    found = pressed.press(CASES[case](), 4)
    assert {status for status, _ in found.answers} == {422}
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH
