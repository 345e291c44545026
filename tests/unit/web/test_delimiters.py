"""The delimiter of a CSV file is found in its header and first records, and broken quotes are found
by line and column."""

from __future__ import annotations

import csv
import io
import random

import pytest

from web.intake.delimiter import find_delimiter
from web.intake.quotes import BrokenQuote, find_broken_quote


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,text\n1,a\n", ","),
        ("id;text\n1;hello, world\n2;a, b, c\n", ";"),
        ("id\ttext\n1\ta;b,c\n", "\t"),
        ("id|text\n1|a,b\n", "|"),
        ("prompt\nhello, world; and | more\n", ","),
        ('"a;b",c\n"1;2",3\n', ","),
        ('"id";"text"\n"1";"say ""hi"", now"\n', ";"),
        ("a;b;price\n1;2;3,50\n4;5;6,70\n", ";"),
        ("name, first;age\nSmith;4\nMiller;5\n", ";"),
        ("a,b\n1,2;3\n", ","),
        ("\n\n  \nid;x\n1;2\n", ";"),
        ("", ","),
        ("id;text\n", ";"),
        (",id;x\n0,1\n", ","),
        ("id;text;;;\n1;2;;;\n", ";"),
    ],
)
def test_the_delimiter_parts_the_header_and_most_records_as_it_does(
    text: str, expected: str
) -> None:
    assert find_delimiter(text.splitlines(keepends=True), True, ",", []) == expected


def test_the_columns_that_a_job_names_decide_first() -> None:
    sample = ["a,b;c,d\n", "1,2;3,4\n"]
    assert find_delimiter(sample, True, ",", ["a", "d"]) == ","
    assert find_delimiter(sample, True, ",", ["a,b"]) == ";"
    assert find_delimiter(sample, True, ",", ["z"]) == ","


def test_a_record_that_the_sample_cuts_off_decides_nothing() -> None:
    sample = ["id;text\n", '1;"open, and\n', "more, of, it\n"]
    assert find_delimiter(sample, False, ",", []) == ";"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_any_honest_table_is_found(delimiter: str) -> None:
    draw = random.Random(delimiter)
    for _ in range(50):
        width, sink = draw.randint(2, 8), io.StringIO()
        writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n")
        writer.writerow(f"column {number}" for number in range(width))
        for _ in range(draw.randint(1, 10)):
            writer.writerow("".join(draw.choices("ab ,;|\t\n\"'", k=9)) for _ in range(width))
        sample = sink.getvalue().splitlines(keepends=True)
        assert find_delimiter(sample, True, ",", []) == delimiter


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['a,"b\n', "c\n"], BrokenQuote(0, 3, True)),
        (['a,"b\n', 'c",d,"x"y\n'], BrokenQuote(1, 9, False)),
        (['"a"b,c\n'], BrokenQuote(0, 4, False)),
        (['"a""b" ,c\n'], BrokenQuote(0, 7, False)),
        (['"'], BrokenQuote(0, 1, True)),
        (['"a""\n'], BrokenQuote(0, 1, True)),
        (['a"b,"c"\n'], None),
        (["a,b\n"], None),
    ],
)
def test_a_broken_quote_is_found_by_line_and_column(
    lines: list[str], expected: BrokenQuote | None
) -> None:
    assert find_broken_quote(lines, ",") == expected
