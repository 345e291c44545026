"""XLSX files: a sheet is read as it is shown, in a process of its own, within bounds."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from datetime import time as clock

import openpyxl
import pandas as pd
import psutil
import pytest

from tests.support.sheets import NAMESPACE, SHEET, claiming, good, long_cell, repacked, sheet
from tests.support.tables import TEMPLATE, drafts_of, refusal_of, values_of, vars_of, workbook
from web.intake import xlsx


def test_cells_are_what_the_sheet_shows() -> None:
    cells = {
        "text": "漢字\nü",
        "zeros": "007",
        "minus": -3,
        "whole": 7.0,
        "part": 1.5,
        "large": 1e300,
        "flag": True,
        "nothing": None,
        "day": date(2024, 2, 29),
        "moment": datetime.fromisoformat("2024-02-29T12:30:00.5"),
        "time": clock(12, 30),
        "span": timedelta(hours=25),
    }
    (row,) = vars_of("a.xlsx", workbook(list(cells), list(cells.values())))
    assert row == {
        **cells,
        "whole": 7,
        "day": "2024-02-29",
        "moment": "2024-02-29T12:30:00.5",
        "time": "12:30:00",
        "span": "PT90000S",
    }


def test_a_sheet_of_pandas_comes_back() -> None:
    frame = pd.DataFrame({"text": ["a", "{{other}}"], "status": ["007", "-3"], "n": [1, 2]})
    sink = io.BytesIO()
    frame.to_excel(sink)
    assert vars_of("a.xlsx", sink.getvalue()) == [
        {"": 0, "text": "a", "status": "007", "n": 1},
        {"": 1, "text": "{{other}}", "status": "-3", "n": 2},
    ]
    assert values_of("a.xlsx", sink.getvalue(), columns={"custom_id": "", "prompt": "text"})[0] == {
        "custom_id": "0",
        "prompt": "a",
        "vars": {"": 0, "text": "a", "status": "007", "n": 1},
    }


def test_lines_are_the_rows_of_the_sheet_and_blank_ones_are_skipped() -> None:
    content = workbook([], ["id", "text"], [], [1, "a"], [None, " "], [2, "b"], [3])
    drafts = drafts_of("a.xlsx", content, template=TEMPLATE, columns={"custom_id": "id"})
    assert [(draft.line, draft.value["custom_id"]) for draft in drafts] == [
        (4, "1"),
        (6, "2"),
        (7, "3"),
    ]
    assert drafts[2].value["vars"] == {"id": 3, "text": None}


def test_a_table_need_not_begin_in_the_corner() -> None:
    book = openpyxl.Workbook()
    for cell, value in (("C5", "id"), ("D5", "text"), ("C6", 1), ("D6", "a"), ("C9", 2)):
        book.active[cell] = value
    sink = io.BytesIO()
    book.save(sink)
    drafts = drafts_of("a.xlsx", sink.getvalue(), template=TEMPLATE)
    assert [(draft.line, draft.value["vars"]) for draft in drafts] == [
        (6, {"id": 1, "text": "a"}),
        (9, {"id": 2, "text": None}),
    ]


def test_the_first_sheet_that_is_shown_is_read_or_the_one_that_is_named() -> None:
    book = openpyxl.load_workbook(io.BytesIO(workbook(["text"], ["a"], sheets=("One", "Two 表"))))
    book["Two 表"].append(["b"])
    sink = io.BytesIO()
    book.save(sink)
    assert vars_of("a.xlsx", sink.getvalue()) == [{"text": "a"}]
    assert vars_of("a.xlsx", sink.getvalue(), format={"sheet": "Two 表"}) == [{"Two 表": "b"}]
    error = refusal_of("a.xlsx", sink.getvalue(), template=TEMPLATE, format={"sheet": "Three"})
    assert (error.code, error.field) == ("missing_sheet", "format.sheet")
    assert "the file has One, Two 表" in error.message
    book["One"].sheet_state = "hidden"
    book.active = 1
    sink = io.BytesIO()
    book.save(sink)
    assert vars_of("a.xlsx", sink.getvalue()) == [{"Two 表": "b"}]


def test_a_sheet_without_rows_has_no_drafts_and_one_without_a_header_is_refused() -> None:
    assert drafts_of("a.xlsx", workbook(["text"]), template=TEMPLATE) == []
    error = refusal_of("a.xlsx", workbook(), template=TEMPLATE)
    assert (error.code, error.message) == ("empty_job", "the sheet is empty")


def test_a_header_may_have_numbers_and_a_repeated_one_is_refused() -> None:
    assert vars_of("a.xlsx", workbook([2024, "text", None], ["x", "y", None])) == [
        {"2024": "x", "text": "y"}
    ]
    error = refusal_of("a.xlsx", workbook(["text", "a", "text"], [1, 2, 3]), template=TEMPLATE)
    assert error.code == "invalid_header" and "(1, 3)" in error.message
    assert refusal_of("a.xlsx", workbook(["id"], [1])).code == "missing_column"


def test_without_a_template_names_mean_what_they_mean_in_every_table() -> None:
    content = workbook(["custom_id", "prompt", "seed", "team"], [7.0, "a", 3.0, "red"])
    assert values_of("a.xlsx", content) == [
        {"custom_id": "7", "prompt": "a", "params": {"seed": 3}, "metadata": {"team": "red"}}
    ]


def test_a_formula_without_a_value_is_told_of_and_not_taken_for_an_empty_cell() -> None:
    sink = io.BytesIO()
    frame = pd.DataFrame({"id": [1, 2, 3], "text": ["a", "=1+1", "b"]})
    frame.to_excel(sink, index=False, sheet_name="Rows & more")
    for bad_rows in ("refuse", "fail"):
        drafts = drafts_of("a.xlsx", sink.getvalue(), template=TEMPLATE, bad_rows=bad_rows)
        assert [draft.value["vars"] for draft in drafts] == [
            {"id": 1, "text": "a"},
            {"id": 2, "text": None},
            {"id": 3, "text": "b"},
        ]
        assert drafts[1].refused and "the cell B3 is a formula" in drafts[1].refused["message"]


def test_formulas_with_values_are_read_by_them() -> None:
    cells = (
        b'<row r="1"><c r="A1" t="str"><v>text</v></c><c r="B1" t="str"><v>n</v></c></row>'
        b'<row r="2"><c r="A2" t="str"><f>"a"</f><v>a</v></c><c r="B2"><f>1+1</f><v>2</v></c></row>'
        b'<row r="3"><c r="A3" t="str"><f>""</f><v></v></c><c r="B3"><f t="shared" si="0"/>'
        b"<v>3</v></c></row>"
        b'<row r="4"><c r="A4" t="str"><v>c</v></c><c r="B4" s="1"><f t="shared" si="0"/></c></row>'
    )
    first, second, third = drafts_of("a.xlsx", sheet(cells), template=TEMPLATE)
    assert first.value["vars"] == {"text": "a", "n": 2}
    assert second.value["vars"] == {"text": None, "n": 3}
    assert third.refused and "B4" in third.refused["message"]


def test_a_formula_is_found_wherever_it_stands_in_a_large_sheet() -> None:
    rows = [["text", "x"], *([f"row {n}", "y" * 50] for n in range(20_000))]
    book = openpyxl.load_workbook(io.BytesIO(workbook(*rows)))
    for line in (2, 7_777, 20_001):
        book.active[f"B{line}"] = "=A1"
    sink = io.BytesIO()
    book.save(sink)
    drafts = drafts_of("a.xlsx", sink.getvalue(), template=TEMPLATE)
    assert [draft.line for draft in drafts if draft.refused] == [2, 7_777, 20_001]


def test_errors_are_text_as_the_sheet_shows_them_and_their_rows_are_not_skipped() -> None:
    cells = (
        b'<row r="3"><c r="Z3" t="str"><v>text</v></c><c r="AA3" t="e"><v>#REF!</v></c></row>'
        b'<row r="4"><c r="Z4" t="e"><v>#N/A</v></c></row>'
        b"<row r='5'><c t='e' r='AA5' s='1'><f>1/0</f><v>#DIV/0!</v></c></row>"
        b'<row r="6"><c r="Z6"><v>1e999</v></c><c r="AA6"><v>NaN</v></c></row>'
        b'<row r="8"><c r="Z8" t="str"><v>"e"</v></c><c r="AA8" t="e"/></row>'
    )
    drafts = drafts_of("a.xlsx", sheet(cells), template=TEMPLATE)
    shown = [
        (draft.line, draft.value["vars"]["text"], draft.value["vars"]["#REF!"]) for draft in drafts
    ]
    assert shown == [
        (4, "#N/A", None),
        (5, None, "#DIV/0!"),
        (6, "#NUM!", "#NUM!"),
        (8, '"e"', None),
    ]


def test_an_error_is_found_wherever_it_stands_in_a_large_sheet() -> None:
    rows = [["text", "x"], *([f"row {n}", "y" * 50] for n in range(20_000))]
    lines = (2, 7_777, 20_001)
    for line in lines:
        rows[line - 1][0] = "#N/A"
    drafts = drafts_of("a.xlsx", workbook(*rows), template=TEMPLATE)
    assert [draft.line for draft in drafts if draft.value["vars"]["text"] == "#N/A"] == [*lines]


def test_cells_outside_of_the_header_make_a_row_bad() -> None:
    (draft,) = drafts_of("a.xlsx", workbook(["text"], ["a", "b"]), template=TEMPLATE)
    assert draft.refused and "has 2 cells where the header has 1" in draft.refused["message"]


TWO_CORNERS = (
    b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
)
ENTITIES = (
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%b">' % (97 + n, b"&%c;" % (96 + n) * 10) for n in range(1, 10))
    + b"]><worksheet "
    + NAMESPACE
    + b"><sheetData><row r='1'><c r='A1' t='inlineStr'><is><t>&j;"
    b"</t></is></c></row></sheetData></worksheet>"
)


BAD: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "the start of a zip": lambda: b"PK\3\4",
    "a csv": lambda: b"id,text\n1,a\n",
    "cut off": lambda: good()[:-200],
    "half a sheet": lambda: repacked(good(), {SHEET: b"<worksheet"}),
    "no xml": lambda: repacked(good(), {"xl/workbook.xml": b"no xml"}),
    "an old file": lambda: b"\xd0\xcf\x11\xe0" + bytes(1000),
    "two far corners": lambda: sheet(TWO_CORNERS),
    "a cell of 128 MiB": long_cell,
    "a cell of 128 MiB that claims less": lambda: claiming(long_cell(), 100),
    "entities": lambda: repacked(good(), {SHEET: ENTITIES}),
    "a claim of 2 GiB": lambda: claiming(good(), 2**31),
    "1001 columns": lambda: workbook([f"c{n}" for n in range(1001)]),
    "201 variables": lambda: workbook([f"c{n}" for n in range(201)]),
    "too many cells": lambda: sheet(
        b"<row r='1'><c r='A1'><v>1</v></c></row><row r='400000'><c r='F400000'><v>1</v></c></row>"
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_sheet_or_too_much_is_refused_in_bounded_memory_and_time(case: str) -> None:
    content = BAD[case]()
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    error = refusal_of("a.xlsx", content, template=TEMPLATE)
    assert error.field == "file" and error.code in ("malformed_file", "invalid_header")
    assert time.monotonic() - began < 30
    assert psutil.Process().memory_info().rss - before < 50 * 2**20
    children = psutil.Process().children()
    assert not [each for each in children if "web.intake.xlsx_reader" in each.cmdline()]


def test_how_much_a_sheet_may_hold_is_said() -> None:
    for case, says in (
        ("too many cells", "2,400,000 cells; it may have 2,000,000"),
        ("1001 columns", "1,001 columns"),
        ("a claim of 2 GiB", "2,048 MiB"),
        ("an old file", "password"),
    ):
        assert says in refusal_of("a.xlsx", BAD[case](), template=TEMPLATE).message


def test_the_rows_of_a_sheet_have_a_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MOST_ROWS", 1000)
    rows = [["x" * 46] for _ in range(64)]
    *_, last = drafts_of("a.xlsx", workbook(["text"], *rows), template=TEMPLATE)
    assert last.fault and "split the file" in last.fault


def test_a_server_without_calamine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = refusal_of("a.xlsx", workbook(["text"]), template=TEMPLATE)
    assert (error.status, error.code) == (415, "xlsx_unavailable")
