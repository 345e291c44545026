"""Tables of every kind: what their rows are, and that a column more leaves all else as it is."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import polars as pl
import pyarrow.parquet
import pytest

from promptmill.errors import TableError
from promptmill.tables import open_table

ROWS = [{"id": 7, "text": "a"}, {"id": 8, "text": 'b "q"\n; , \t京'}]
KINDS = ["pandas", "polars", "list", "csv", "tsv", "jsonl", "parquet", "xlsx"]


def table_of(kind: str, rows: list[dict[str, Any]], folder: Path) -> Any:
    path = folder / f"table.{kind}"
    if kind == "pandas":
        return pd.DataFrame(rows)
    if kind == "polars":
        return pl.DataFrame(rows)
    if kind == "list":
        return rows
    if kind == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif kind == "tsv":
        pd.DataFrame(rows).to_csv(path, index=False, sep="\t")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    elif kind == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        pd.DataFrame(rows).to_excel(path, index=False)
    return path


def rows_of(table: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in open_table(table).rows()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_more_leaves_the_others_as_they_are(kind: str, tmp_path: Path) -> None:
    table = table_of(kind, ROWS, tmp_path)
    opened = open_table(table)
    assert (opened.columns, len(opened)) == (["id", "text"], 2)
    before = rows_of(table)
    assert [str(row["id"]) for row in before] == ["7", "8"]
    assert [row["text"] for row in before] == [row["text"] for row in ROWS]
    result = opened.with_columns({"output": ["one", None]})
    assert type(result) is type(table)
    after = rows_of(result)
    assert [{name: row[name] for name in ("id", "text")} for row in after] == before
    assert after[0]["output"] == "one" and after[1]["output"] in (None, "")
    assert rows_of(table) == before


def test_a_pandas_index_stays_also_with_the_same_label_twice() -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"]}, index=["x", "x", "y"])
    result = open_table(frame).with_columns({"output": ["1", None, "3"]})
    assert list(result.index) == ["x", "x", "y"]
    assert list(result["output"]) == ["1", None, "3"]
    assert list(frame.columns) == ["text"]


def test_several_outputs_are_lists(tmp_path: Path) -> None:
    several = [["1", "2"], None]
    frame = open_table(pl.DataFrame(ROWS)).with_columns({"output": several})
    assert frame["output"].to_list() == several
    assert list(open_table(pd.DataFrame(ROWS)).with_columns({"output": several})["output"]) == (
        several
    )
    path = open_table(table_of("csv", ROWS, tmp_path)).with_columns({"output": several})
    assert [row["output"] for row in rows_of(path)] == ['["1", "2"]', ""]
    path = open_table(table_of("parquet", ROWS, tmp_path)).with_columns({"output": several})
    assert pl.read_parquet(path)["output"].to_list() == several


def test_a_csv_keeps_its_delimiter_mark_line_ends_and_every_cell(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    cells = ["007", "1.0", "-3", "=1+1", "+886 2", "{{other}}", " x ", ""]
    header = ["", "text", "status", "n", "seed", "a", "b", "c"]
    with path.open("w", encoding="utf-16", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, cells, [], cells[:3]])
    opened = open_table(path)
    assert [list(row.values()) for row in opened.rows()] == [cells, cells[:3]]
    result = opened.with_columns({"output": ["=cmd()", "-3"]})
    assert result == tmp_path / "table.output.csv"
    raw = result.read_bytes().decode("utf-16")
    assert raw.splitlines()[0] == ";text;status;n;seed;a;b;c;output"
    assert raw.count("\r\n") == 3
    rows = [list(row.values()) for row in open_table(result).rows()]
    # No spreadsheet runs what a model wrote; numbers stay numbers.
    assert rows == [[*cells, "'=cmd()"], [*cells[:3], "", "", "", "", "", "-3"]]


def test_an_xlsx_keeps_its_types_and_runs_no_output(tmp_path: Path) -> None:
    path, leap = tmp_path / "table.xlsx", dt.datetime.fromisoformat("2024-02-29")
    pd.DataFrame({"day": [leap], "n": [1.5]}).to_excel(path, index=False)
    result = open_table(path).with_columns({"output": ["=1+1\x00"]})
    day, number, output = openpyxl.load_workbook(result).worksheets[0][2]
    assert (day.value, number.value) == (leap, 1.5)
    assert (output.value, output.data_type) == ("=1+1", "s")


def test_a_parquet_file_keeps_its_types_without_pyarrow_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    frame = pl.DataFrame({"day": [dt.date(2024, 2, 29)], "n": pl.Series([1], dtype=pl.Int8)})
    frame.write_parquet(path)
    first = open_table(path).with_columns({"output": ["x"]})
    assert pl.read_parquet(first).schema == {**frame.schema, "output": pl.String}
    real = pyarrow.parquet
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    second = open_table(path, tmp_path / "second.parquet").with_columns({"output": ["x"]})
    written, expected = real.read_table(second), real.read_table(first)
    assert written.cast(expected.schema).equals(expected)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "two columns named '1'"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "several levels"),
        (pl.LazyFrame({"a": [1]}), "call .collect"),
        (["a text"], "list of dictionaries"),
        ([{str(n): 0 for n in range(201)}], "201 columns; a row may have 200"),
        ({"a": [1]}, "not dict"),
        (iter([]), "not list_iterator"),
        ("table.doc", r"\*.csv"),
    ],
)
def test_what_is_no_table_is_refused_by_what_it_is(table: Any, says: str) -> None:
    with pytest.raises(TableError, match=says):
        open_table(table)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "must name the columns"),
        ("a.csv", b'a,b\n1,"2', "line 2"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "row 2: 3 cells"),
        ("a.csv", b"a,b\n1\xff,2\n", "line 2: its byte 2 is not utf-8; save it as UTF-8"),
        ("a.csv", "é,b\n1,2\n".encode("utf-16-le"), "looks like UTF-16"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16-be") + b"\xd8", "a.jsonl, line 1: its byte 17"),
        ("a.csv", b"a,b,\n1,2,3\n", "row 1: the last cell has a value"),
        ("a.xlsx", b"PK\x03\x04 of nothing", "cannot be read as XLSX"),
        ("a.parquet", b"PAR1 of nothing", "cannot be read as PARQUET"),
        ("a.csv", b"a,a\n1,2\n", "two columns named 'a'"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "line 2: must be an object"),
        ("a.jsonl", b'{"a": 1}\n{"a"\n', "line 2: is no JSON"),
    ],
)
def test_a_faulty_file_is_told_with_the_place(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=says):
        open_table(tmp_path / name)


def test_an_xlsx_cell_that_would_be_taken_for_none_is_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (["id", "text"], [1, "a"], [2, "=1+1"]):
        sheet.append(row)
    book.save(tmp_path / "formula.xlsx")
    with pytest.raises(TableError, match="the cell B3 is a formula whose value"):
        open_table(tmp_path / "formula.xlsx")
    sheet["B3"], sheet["C3"] = "b", "kept?"
    book.save(tmp_path / "nameless.xlsx")
    with pytest.raises(TableError, match="the cell C3 has a value, and its column has no name"):
        open_table(tmp_path / "nameless.xlsx")


def test_a_result_goes_only_where_a_file_of_its_format_can_be(tmp_path: Path) -> None:
    path = table_of("csv", ROWS, tmp_path)
    for wrong, says in (
        ("out.parquet", r"name it \*\.csv"),
        ("out", r"name it \*\.csv"),
        ("nodir/out.csv", "there is no folder"),
    ):
        with pytest.raises(TableError, match=says):
            open_table(path, tmp_path / wrong)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableError, match="is a folder"):
        open_table(path, tmp_path / "folder.csv")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "xlsx", "parquet"])
def test_a_file_that_is_not_there_is_told_in_words(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "none" / f"a.{suffix}"
    with pytest.raises(FileNotFoundError, match=r"there is no such file: '.*none/a\."):
        open_table(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"no such file in {tmp_path}: 'a.{suffix}'"):
        open_table(f"a.{suffix}")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", 'id,text\n1,"京 x"\n'), ("a.jsonl", '{"id": "1", "text": "京 x"}\n')],
)
def test_a_file_keeps_its_encoding_with_or_without_a_mark(
    name: str, text: str, encoding: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    opened = open_table(tmp_path / name)
    assert list(opened.rows()) == [{"id": "1", "text": "京 x"}]
    result = opened.with_columns({"output": ["y"]}).read_bytes()
    assert "京 x" in result.decode(encoding) and result[:2] == text.encode(encoding)[:2]


def test_a_result_never_overwrites_its_own_table(tmp_path: Path) -> None:
    path = table_of("csv", ROWS, tmp_path)
    with pytest.raises(TableError, match="its own table"):
        open_table(path, tmp_path / "." / "table.csv")
    with pytest.raises(TableError, match="no file"):
        open_table(ROWS, tmp_path / "out.csv")
