"""The values of tables as JSON: the same for the same table, whatever library holds it."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pytest

from promptmill.errors import TableError
from promptmill.values import json_value, write_rows


class Number(IntEnum):
    THREE = 3


class Word(StrEnum):
    WORD = "word"


BERLIN = dt.timezone(dt.timedelta(hours=1))


@pytest.mark.parametrize(
    "missing",
    [None, np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")],
)
def test_what_has_no_value_is_null(missing: Any) -> None:
    assert json_value(missing) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (np.True_, True),
        (np.int64(7), 7),
        (np.float64(0.5), 0.5),
        (10**30, 10**30),
        (float("-inf"), "-Infinity"),
        (Number.THREE, 3),
        (Word.WORD, "word"),
        (np.str_("text"), "text"),
        (Decimal("12.50"), "12.50"),
        (Decimal("1E+3"), "1000"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.datetime.fromisoformat("2024-02-29T12:00"), "2024-02-29T12:00:00"),
        (dt.datetime(2024, 2, 29, 12, 0, 0, 500000, BERLIN), "2024-02-29T11:00:00.5Z"),
        (pd.Timestamp("2024-02-29 12:00", tz="Europe/Berlin"), "2024-02-29T11:00:00Z"),
        (np.datetime64("2024-02-29T12:00:00", "ns"), "2024-02-29T12:00:00"),
        (dt.time(12, 30), "12:30:00"),
        (dt.timedelta(hours=-1.5), "PT-5400S"),
        (np.timedelta64(1500, "ms"), "PT1.5S"),
        (np.timedelta64(5 * 10**9, "ns"), "PT5S"),
        (b"ab", "YWI="),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (np.array([[1.5, np.nan]]), [[1.5, None]]),
        (pl.Series([1, None]), [1, None]),
        ({1: ("a", {2})}, {"1": ["a", [2]]}),
    ],
)
def test_a_value_is_written_as_the_api_writes_it(value: Any, expected: Any) -> None:
    found = json_value(value)
    assert found == expected and type(found) is type(expected)


def test_a_value_that_no_file_can_hold_is_named_by_row_and_column() -> None:
    rows: list[dict[str, Any]] = [{"a": "fine", "b": "fine"}, {"a": "fine", "b": ["\ud800"]}]
    with pytest.raises(TableError, match=r"row 2, column 'b': .*surrogate"):
        write_rows(io.BytesIO(), rows)
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(TableError, match=r"row 1, column 'a': lists in lists"):
        write_rows(io.BytesIO(), [{"a": deep}])


def test_a_row_is_a_line_whatever_its_text_contains() -> None:
    file, row = io.BytesIO(), dict[str, Any]({"text": 'a\n"b"\r\n\x00\x85\u2028 京', "": 1})
    write_rows(file, [row, row])
    assert [json.loads(line) for line in file.getvalue().split(b"\n")[:-1]] == [row, row]
