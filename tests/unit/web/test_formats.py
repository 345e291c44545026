"""What programs write is read as it was written: CSV of every kind, JSONL and text, in UTF-8 and
UTF-16."""

from __future__ import annotations

import codecs
import csv
import io
import json
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tables import TEMPLATE, drafts_of, refusal_of, values_of, vars_of, workbook
from tests.support.uploads import BOM
from web.intake.lines import MOST_LINE, Unreadable
from web.intake.text_lines import TextFile

HARD = [
    "-3",
    "007",
    "1.0",
    "=1+1",
    "+886 2",
    "{{other}}",
    'a "quoted" word',
    "two\nlines",
    "two\r\nlines",
    "漢字、かな",
    "🦀 ü",
    " spaces ",
    "a,b;c|d\te",
    "TRUE",
    "nan",
    "\u2028",
    "#N/A",
    "'x",
]
FRAME = pd.DataFrame(
    {
        "text": HARD,
        "status": [f"s{number}" for number in range(len(HARD))],
        "n": HARD[::-1],
        "seed": ["x"] * len(HARD),
    }
)
ROWS = [
    {"": str(index), **{str(name): cell for name, cell in row.items()}}
    for index, row in enumerate(FRAME.to_dict("records"))
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_a_csv_of_pandas_comes_back_cell_by_cell(
    delimiter: str, encoding: str, wanted: str | None
) -> None:
    content = FRAME.to_csv(sep=delimiter).encode(encoding)
    assert vars_of("a.csv", content, format={"encoding": wanted} if wanted else None) == ROWS


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_and_line_ends_are_read_however_they_are_written(quoting: Any, end: str) -> None:
    content = FRAME.to_csv(quoting=quoting, lineterminator=end).encode()
    assert vars_of("a.csv", content) == ROWS


def test_a_csv_of_polars_comes_back_cell_by_cell() -> None:
    frame = pl.DataFrame(ROWS)
    assert vars_of("a.csv", frame.write_csv().encode()) == ROWS
    assert vars_of("a.tsv", frame.write_csv(separator="\t").encode()) == ROWS


def test_a_return_in_quotes_is_a_part_of_its_cell() -> None:
    content = b'id,text\n1,"a\rb"\n2,"a\r"\n3,"\r\n"\n'
    assert [row["text"] for row in vars_of("a.csv", content)] == ["a\rb", "a\r", "\r\n"]


def test_a_tsv_with_commas_in_its_header_is_parted_by_tabs() -> None:
    content = b"a,b\ttext\n1,2\tx,y\n"
    assert vars_of("a.tsv", content) == [{"a,b": "1,2", "text": "x,y"}]


def test_the_delimiter_may_be_said() -> None:
    assert vars_of("a.csv", b"a;b,c\n1;2,3\n", format={"delimiter": ";"}) == [
        {"a": "1", "b,c": "2,3"}
    ]
    assert vars_of("a.csv", b"a:b\n1:2\n", format={"delimiter": ":"}) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    "content",
    [
        b"id,text\r1,a\r2,b\r",
        b"id,text\r\n1,a\n2,b\r",
        b"id,text\n1,a\r2,b\r\n",
        b"id,text\n\n\r\n  \r1,a\n,\n2,b",
    ],
)
def test_line_ends_may_be_mixed(content: bytes) -> None:
    assert vars_of("a.csv", content) == [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]


def test_lines_keep_their_numbers_over_cells_of_several_lines() -> None:
    content = b'id,text\n1,"a\r\nb\rc"\n\n2,x\n'
    assert [draft.line for draft in drafts_of("a.csv", content, template=TEMPLATE)] == [2, 6]
    content = b'id,text\n1,"a\r\nb\nc"\n\n2,x\n'
    assert [draft.line for draft in drafts_of("a.csv", content, template=TEMPLATE)] == [2, 6]


def test_zero_bytes_in_cells_are_kept_and_in_a_header_taken_for_utf_16() -> None:
    assert vars_of("a.csv", b"text\na\0b\n") == [{"text": "a\0b"}]
    error = refusal_of("a.csv", "id,text\n1,a\n".encode("utf-16-le"), template=TEMPLATE)
    assert (error.code, error.field) == ("invalid_header", "file")
    assert "format.encoding" in error.message


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b'text\na\nx,"open\nb\n', 3, "the quote at line 3, column 3 is not closed"),
        (b'text\n"two\nlines" x\n', 3, "at line 3, column 7 text follows the end of a quoted"),
        ("text\na\ncafé\n".encode("latin-1"), 3, "0xe9 is not valid UTF-8 at line 3, column 4"),
        ("text\né a\n漢".encode() + b"\xff", 3, "0xff is not valid UTF-8 at line 3, column 2"),
        ("text\nü\n".encode("utf-16") + b"\0\xd8a\0", 3, "not valid UTF-16 at line 3, column 1"),
        ("text\na".encode("utf-16") + b"x", 2, "not valid UTF-16 at line 2, column 2"),
    ],
)
def test_what_cannot_be_read_is_named_with_line_and_column(
    content: bytes, line: int, says: str
) -> None:
    for bad_rows in ("refuse", "fail"):
        last = drafts_of("a.csv", content, template=TEMPLATE, bad_rows=bad_rows)[-1]
        assert last.line == line and last.fault and says in last.fault


@pytest.mark.parametrize(
    ("content", "wanted", "says"),
    [
        ("text\na\n".encode("utf-32"), None, "UTF-32"),
        (codecs.BOM_UTF16_LE + b"a\0", "utf-8", "begins with the mark of utf-16-le"),
        (codecs.BOM_UTF16_BE + b"\0a", "utf-16-le", "begins with the mark of utf-16-be"),
        (BOM + b"a", "utf-16", "begins with the mark of utf-8"),
    ],
)
def test_an_encoding_that_is_not_read_or_not_the_files_is_refused(
    content: bytes, wanted: str | None, says: str
) -> None:
    said = {"encoding": wanted} if wanted else None
    for name in ("a.csv", "a.txt", "a.jsonl"):
        assert says in refusal_of(name, content, template=TEMPLATE, format=said).message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_cell_may_be_as_long_as_a_row_and_no_longer(encoding: str) -> None:
    for size, is_read in ((4 * 2**20 - 100, True), (4 * 2**20 + 100, False)):
        content = f"id,text\n1,{'x' * size}\n2,b\n".encode(encoding)
        drafts = drafts_of("a.csv", content, template=TEMPLATE)
        assert (len(drafts) == 2 and drafts[0].fault is None) is is_read
        assert is_read or "longer than" in str(drafts[-1].fault)
    content = 'text\n"{}"\n'.format("xy\n" * 2_000_000).encode(encoding)
    (draft,) = drafts_of("a.csv", content, template=TEMPLATE)
    assert draft.fault and "is a quote missing?" in draft.fault


def test_a_line_of_utf_16_without_an_end_is_refused_before_it_fills_memory() -> None:
    class Endless(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size and size > 0
            self.read_bytes += size
            return b"a\0" * (size // 2)

    source = Endless()
    with pytest.raises(Unreadable, match="longer than"):
        list(TextFile(source, "utf-16-le"))
    assert source.read_bytes < 3 * MOST_LINE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_lines_and_text_are_read_in_every_encoding(encoding: str) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    assert vars_of("a.jsonl", lines.encode(encoding)) == ROWS
    assert vars_of("a.jsonl", FRAME.to_json(orient="records", lines=True).encode(encoding)) == [
        {name: cell for name, cell in row.items() if name} for row in ROWS
    ]
    assert values_of("a.txt", "漢字\nü\n".encode(encoding)) == [
        {"prompt": "漢字"},
        {"prompt": "ü"},
    ]


def test_old_spreadsheets_and_unknown_files_are_refused_by_name() -> None:
    assert "name it .xlsx" in refusal_of("a.csv", workbook(["text"])).message
    assert "save the table as .xlsx" in refusal_of("a.xls", b"").message
    assert ".csv" in refusal_of("a.pdf", b"").message


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_cells_hold_comes_back(
    rows: list[list[str]], delimiter: str, encoding: str, end: str
) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text", "x"], *rows])
    content = sink.getvalue().encode(encoding)
    kept = [row for row in rows if any(cell and not cell.isspace() for cell in row)]
    found = vars_of("a.csv", content, format={"delimiter": delimiter})
    assert [list(row.values()) for row in found] == kept
    assert vars_of("a.csv", content) == found
