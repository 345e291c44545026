"""What is found in a file before its columns are mapped."""

from __future__ import annotations

import io
import json

import pytest

from common.errors import InvalidRequest
from tests.support.tables import workbook
from tests.support.uploads import table
from web.intake.inspection import LONGEST_SHOWN, MOST_SHOWN, Inspection, ShownRow, inspect_table
from web.schemas.tables import TableFormat


def looked_into(name: str, content: bytes, rows: int = 3, **said: str) -> Inspection:
    return inspect_table(io.BytesIO(content), name, TableFormat.model_validate(said), rows)


def test_a_csvs_format_is_found_and_may_be_said_otherwise() -> None:
    content = 'id;a,b\n007;"x\ny"\n\n8;2\n9\n'.encode("utf-16")
    found = looked_into("a.csv", content)
    assert (found.format, found.delimiter, found.encoding) == ("csv", ";", "utf-16-le")
    assert found.columns == ["id", "a,b"]
    assert found.rows == [
        ShownRow(2, {"id": "007", "a,b": "x\ny"}),
        ShownRow(5, {"id": "8", "a,b": "2"}),
        ShownRow(6, {"id": "9"}),
    ]
    assert looked_into("a.csv", content, delimiter=",").columns == ["id;a", "b"]
    assert looked_into("a.tsv", b"a\tb\n").delimiter == "\t"


def test_columns_need_not_mean_anything_yet() -> None:
    found = looked_into("a.csv", b",text,max_new_tokens\n0,a,b\n")
    assert found.columns == ["", "text", "max_new_tokens"]


def test_a_workbooks_sheets_are_listed() -> None:
    content = workbook(["id", "text"], [1, "a"], sheets=("One", "Two"))
    found = looked_into("a.xlsx", content)
    assert (found.sheet, found.sheets, found.columns) == ("One", ["One", "Two"], ["id", "text"])
    assert found.rows == [ShownRow(2, {"id": 1, "text": "a"})]
    assert looked_into("a.xlsx", content, sheet="Two").columns == ["Two"]


def test_a_parquet_files_types_are_listed() -> None:
    found = looked_into("a.parquet", table(id=list(range(1000)), tags=[["a"]] * 1000))
    assert found.types == {"id": "int64", "tags": "list<element: string>"}
    assert found.rows[-1] == ShownRow(3, {"id": 2, "tags": ["a"]})


def test_the_columns_of_json_lines_are_the_names_of_the_first_hundred() -> None:
    lines = [{"a": 1}, {"b": [2], "a": None}, [3], {"vars": {"c": "x"}}]
    content = "\n".join(map(json.dumps, lines)) + "\n{\n" + '{"d": 1}\n' * 100 + '{"e": 1}\n'
    found = looked_into("a.jsonl", content.encode(), rows=5)
    assert found.columns == ["a", "b", "c", "d"]
    assert [row.cells for row in found.rows] == [
        {"a": 1},
        {"b": [2], "a": None},
        {},
        {"c": "x"},
        {},
    ]
    assert found.rows[2].fault and found.rows[4].fault


def test_a_text_file_has_one_column() -> None:
    found = looked_into("a.txt", b"\none\n\xff\n")
    assert found.columns == ["text"]
    assert found.rows[0] == ShownRow(2, {"text": "one"})
    assert found.rows[1].fault and "line 3, column 1" in found.rows[1].fault


def test_little_is_read_and_shown_of_a_large_file() -> None:
    content = b"id,text\n" + b'1,"' + b"x" * 2_000_000 + b'"\n' + b"2,b\n" * 2_000_000
    file = io.BytesIO(content)
    found = inspect_table(file, "a.csv", rows=10_000)
    assert len(found.rows) == MOST_SHOWN and file.tell() < 3_000_000
    assert len(found.rows[0].cells["text"]) == LONGEST_SHOWN + 1
    wide = json.dumps({"a": list(range(10_000))}).encode()
    assert len(looked_into("a.jsonl", wide).rows[0].cells["a"]) == LONGEST_SHOWN + 1


def test_where_reading_stops_is_the_last_row() -> None:
    for content in (b'text\na\n"b\n', b"text\na\n\xff\n", b"text\na\n" + b"x" * 5_000_000):
        rows = looked_into("a.csv", content).rows
        assert (rows[0].cells, rows[-1].line) == ({"text": "a"}, 3)
        assert rows[-1].fault


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_an_empty_file_has_nothing(name: str) -> None:
    assert looked_into(name, b"").rows == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pdf", b""), ("a.csv", b"a,a\n"), ("a.xlsx", b""), ("a.parquet", b""), ("a.csv", b'"a')],
)
def test_a_file_without_a_header_that_can_be_used_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(InvalidRequest):
        looked_into(name, content)
