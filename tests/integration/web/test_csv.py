"""CSV and text files: what a row or a line becomes, and what is refused."""

from __future__ import annotations

import pytest

from tests.support.uploads import BOM, faults, items_of
from tests.support.web import Web


def test_a_text_file_has_one_prompt_a_line(web: Web) -> None:
    assert items_of(web, "prompts.txt", BOM + "one\ntwo words\r\nüber".encode()) == [
        {"prompt": "one"},
        {"prompt": "two words"},
        {"prompt": "über"},
    ]


def test_undecodable_lines_of_text_are_listed(web: Web) -> None:
    assert [line for line, _ in faults(web, "prompts.txt", b"one\n\n\xff\ntwo\n\xfe")] == [3, 5]


def test_a_csv_has_a_prompt_column_ids_settings_and_metadata(web: Web) -> None:
    content = BOM + (
        b'custom_id,prompt,temperature,stop,team\r\nx,"line one\nline, '
        b'two",0.5,END,red\r\ny,z,,,blue\r\n'
    )
    assert items_of(web, "batch.csv", content) == [
        {
            "custom_id": "x",
            "prompt": "line one\nline, two",
            "params": {"temperature": 0.5, "stop": ["END"]},
            "metadata": {"team": "red"},
        },
        {"custom_id": "y", "prompt": "z", "metadata": {"team": "blue"}},
    ]


def test_the_prompt_column_may_have_another_name(web: Web) -> None:
    assert items_of(web, "batch.csv", b"question\na\n", prompt_column="question") == [
        {"prompt": "a"}
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"question,n\na,1\n",
            (
                "there is no column 'prompt'; name the column of the prompts as columns.prompt "
                "(or prompt_column), or give a template: the file has question, n"
            ),
        ),
        (b"prompt,max_new_tokens\na,1\n", "is called max_tokens here"),
        (b"prompt,temprature\na,1\n", "did you mean temperature?"),
        (b"prompt,prompt\na,b\n", "several columns"),
        (b"prompt," + b",".join(b"c%d" % i for i in range(17)) + b"\n", "at most 16"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(web: Web, content: bytes, says: str) -> None:
    ((_, message),) = faults(web, "batch.csv", content)
    assert says in message


def test_bad_csv_lines_are_listed_where_they_begin(web: Web) -> None:
    content = b'prompt,temperature\n"two\nlines",1\na\n\nb,hot\n,1\nc,-1\n'
    assert [line for line, _ in faults(web, "batch.csv", content)] == [4, 6, 7, 8]


@pytest.mark.parametrize(
    "content", [b'prompt\na\n"open\nb\n', b"prompt\na\nb\xff\n", b'prompt\na\n"x"y\n']
)
def test_reading_a_broken_csv_stops_with_the_line(web: Web, content: bytes) -> None:
    ((line, _),) = faults(web, "batch.csv", content)
    assert line == 3


def test_a_csv_of_only_a_header_is_an_empty_job(web: Web) -> None:
    assert faults(web, "a.csv", b"prompt\n") == [(None, "the file has no rows below its header")]
    assert web.upload("a.csv", b"prompt\n").json["code"] == "empty_job"


def test_a_csv_record_is_bounded_over_all_its_lines(web: Web) -> None:
    content = b"prompt\na\n" + b'"\n",' * 2_000_000 + b"\n"
    ((line, message),) = faults(web, "a.csv", content)
    assert line == 3 and "is a quote missing?" in message


@pytest.mark.parametrize("said", [b"sep=;\r\n", b'"sep=;"\n', b"\xef\xbb\xbfSEP=;\n"])
def test_excels_line_about_the_delimiter_is_no_header(web: Web, said: bytes) -> None:
    ((line, _),) = faults(web, "a.csv", said + b"prompt;n\na;1;2\n")
    assert line == 3
    assert items_of(web, "a.csv", said + b"prompt\nhello, you\n") == [{"prompt": "hello, you"}]
