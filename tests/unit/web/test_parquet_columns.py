"""Parquet files whose columns are data: values stay what they are, and the types go along."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa

from tests.support.tables import TEMPLATE, drafts_of, refusal_of, values_of, vars_of
from tests.support.uploads import table

UTC = dt.UTC


def test_values_stay_what_they_are_and_what_json_lacks_is_text() -> None:
    moment = dt.datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    content = table(
        text=["漢字"],
        whole=pa.array([7], pa.int64()),
        part=[7.0],
        flag=[True],
        nothing=pa.array([None], pa.string()),
        day=[dt.date(2024, 2, 29)],
        moment=pa.array([moment], pa.timestamp("us", "Asia/Taipei")),
        raw=[b"\xff"],
        price=[Decimal("12.50")],
        tags=[["a", "b"]],
        about=[{"k": 1, "at": dt.date(2024, 1, 1)}],
        kind=pa.array(["x"]).dictionary_encode(),
    )
    (draft,) = drafts_of("a.parquet", content, template=TEMPLATE)
    assert draft.value == {
        "vars": {
            "text": "漢字",
            "whole": 7,
            "part": 7.0,
            "flag": True,
            "nothing": None,
            "day": "2024-02-29",
            "moment": "2024-02-29T12:30:00Z",
            "raw": "/w==",
            "price": "12.50",
            "tags": ["a", "b"],
            "about": {"k": 1, "at": "2024-01-01"},
            "kind": "x",
        }
    }
    assert isinstance(draft.value["vars"]["part"], float)
    assert draft.types == {
        "text": "string",
        "whole": "int64",
        "part": "double",
        "flag": "bool",
        "nothing": "string",
        "day": "date32[day]",
        "moment": "timestamp[us, tz=Asia/Taipei]",
        "raw": "binary",
        "price": "decimal128(4, 2)",
        "tags": "list<element: string>",
        "about": "struct<k: int64, at: date32[day]>",
        "kind": "string",
    }


def test_only_floats_lose_their_fraction_of_zeros_as_ids() -> None:
    columns = {"custom_id": "id"}
    for ids, expected in (
        ([7.0, None], ["7", None]),
        (["7.0", "007"], ["7.0", "007"]),
        (pa.array([7, 8], pa.int8()), ["7", "8"]),
    ):
        content = table(id=ids, text=["a", "b"])
        found = values_of("a.parquet", content, template=TEMPLATE, columns=columns)
        assert [value.get("custom_id") for value in found] == expected


def test_frames_of_pandas_and_polars_come_back() -> None:
    rows = [
        {"id": 1, "text": "=1+1", "status": "007", "n": None},
        {"id": 2, "text": "-3", "status": "", "n": 1.5},
    ]
    for frame in (pd.DataFrame(rows), pl.DataFrame(rows)):
        sink = io.BytesIO()
        frame.to_parquet(sink) if isinstance(frame, pd.DataFrame) else frame.write_parquet(sink)
        assert vars_of("a.parquet", sink.getvalue()) == rows


def test_mapped_columns_mean_what_they_mean_in_every_table() -> None:
    chats = [[{"role": "user", "content": "hi", "name": None}]]
    content = table(
        chat=chats, temp=[0.5], stops=[["a", "b"]], gold=[["x", "y"]], seed=[float("nan")]
    )
    (value,) = values_of(
        "a.parquet",
        content,
        columns={
            "messages": "chat",
            "reference": "gold",
            "params": {"temperature": "temp", "stop": "stops", "seed": "seed"},
        },
    )
    assert value == {
        "vars": {
            "chat": chats[0],
            "temp": 0.5,
            "stops": ["a", "b"],
            "gold": ["x", "y"],
            "seed": None,
        },
        "messages": [{"role": "user", "content": "hi"}],
        "params": {"temperature": 0.5, "stop": ["a", "b"]},
    }


def test_a_column_that_cannot_be_prompts_is_refused_by_its_type() -> None:
    for cell, says in ((["a"], "columns.messages"), (b"a", "bytes")):
        error = refusal_of("a.parquet", table(q=[cell]), columns={"prompt": "q"})
        assert error.code == "invalid_header" and says in error.message


def test_a_row_that_is_too_large_may_stay_as_a_bad_one() -> None:
    content = table(text=["a", "x" * 5_000_000, "b"])
    drafts = drafts_of("a.parquet", content, template=TEMPLATE, bad_rows="fail")
    assert [draft.refused is not None for draft in drafts] == [False, True, False]
