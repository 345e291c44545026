"""Tables become jobs: through a mapping and a template, from files of every format, with bad rows
refused or kept."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import pytest

from tests.support.tables import workbook
from tests.support.uploads import faults, table
from tests.support.web import Web

TEMPLATE = {"prompt": "Summarise: {{text}}"}
JOB: dict[str, Any] = {"template": TEMPLATE, "columns": {"custom_id": "id"}}


def items(web: Web, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = web.get(f"/v1/jobs/{job_id}/items").json["data"]
    return found


def submitted(web: Web, name: str, content: bytes, **job: Any) -> list[dict[str, Any]]:
    """The items of a job that is accepted and was run."""
    answer = web.upload(name, content, **job)
    assert answer.status_code == 202, answer.text
    web.worker().run(room=100)
    return items(web, answer.json["id"])


FRAME = pd.DataFrame({"id": ["007", "-3"], "text": ['say "hi",\n漢字', "=1+1"], "n": ["x", "y"]})


FILES: dict[str, bytes] = {
    "a.csv": FRAME.to_csv().encode(),
    "b.csv": FRAME.to_csv(sep=";").encode("utf-16"),
    "a.tsv": FRAME.to_csv(sep="\t").encode(),
    "a.jsonl": FRAME.reset_index(names="").to_json(orient="records", lines=True).encode(),
    "a.parquet": table(**{"": [0, 1], **{name: list(FRAME[name]) for name in FRAME}}),
    "a.xlsx": workbook(["", "id", "text", "n"], *[[i, *row] for i, *row in FRAME.itertuples()]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_table_of_any_format_comes_back_with_its_columns(web: Web, name: str) -> None:
    index: list[Any] = ["0", "1"] if "v" in name.split(".")[1] else [0, 1]
    found = submitted(web, name, FILES[name], **JOB)
    assert [(item["custom_id"], item["vars"]) for item in found] == [
        ("007", {"": index[0], "id": "007", "text": 'say "hi",\n漢字', "n": "x"}),
        ("-3", {"": index[1], "id": "-3", "text": "=1+1", "n": "y"}),
    ]
    assert {item["status"] for item in found} == {"succeeded"}


def test_a_stored_file_is_read_by_the_same_options(web: Web) -> None:
    for name in ("a.xlsx", "b.csv", "a.parquet"):
        parts = {"file": (io.BytesIO(FILES[name]), name), "purpose": "input"}
        file_id = web.post("/v1/files", data=parts).json["id"]
        answer = web.post("/v1/jobs", json={**JOB, "input_file": file_id})
        assert answer.status_code == 202, answer.text
        assert [item["custom_id"] for item in items(web, answer.json["id"])] == ["007", "-3"]


def test_a_template_of_a_preset_makes_every_column_a_variable(web: Web) -> None:
    web.call("PUT", "/v1/presets/mine", json={"task": "x", "title": "X", "template": TEMPLATE})
    found = submitted(web, "a.csv", b"seed,text,prompt\nx,a,b\n", preset="mine")
    assert [item["vars"] for item in found] == [{"seed": "x", "text": "a", "prompt": "b"}]


def test_a_mapping_needs_no_template(web: Web) -> None:
    columns = {"custom_id": "id", "prompt": "q", "params": {"temperature": "temp"}}
    found = submitted(web, "a.csv", b"id,q,temp,n\n007,why?,0.5,two\n", columns=columns)
    assert found[0]["prompt"] == "why?" and found[0]["custom_id"] == "007"
    assert found[0]["params"]["temperature"] == 0.5 and found[0]["params"]["n"] == 1
    assert found[0]["vars"] == {"id": "007", "q": "why?", "temp": "0.5", "n": "two"}


BAD = b"""id,text,temp
1,fine,
2,short
3,too,1,many
1,again,1
5,,1
6,hot,warm
7,"fine too",0.5
"""
MAPPED: dict[str, Any] = {
    "template": TEMPLATE,
    "columns": {"custom_id": "id", "params": {"temperature": "temp"}},
}


def test_all_bad_rows_are_listed_and_nothing_is_enqueued(web: Web) -> None:
    assert [line for line, _ in faults(web, "a.csv", BAD, **MAPPED)] == [3, 4, 5, 6, 7]


def test_bad_rows_may_stay_as_failed_items_with_their_columns(web: Web) -> None:
    found = submitted(web, "a.csv", BAD, bad_rows="fail", **MAPPED)
    assert [item["custom_id"] for item in found] == ["1", "2", "3", None, "5", "6", "7"]
    assert [item["vars"] for item in found] == [
        {"id": "1", "text": "fine", "temp": ""},
        {"id": "2", "text": "short"},
        {"id": "3", "text": "too", "temp": "1"},
        {"id": "1", "text": "again", "temp": "1"},
        {"id": "5", "text": "", "temp": "1"},
        {"id": "6", "text": "hot", "temp": "warm"},
        {"id": "7", "text": "fine too", "temp": "0.5"},
    ]


def test_a_check_says_which_rows_will_fail_and_that_the_job_is_valid(web: Web) -> None:
    kept = web.upload("a.csv", BAD, "/v1/jobs/check", bad_rows="fail", **MAPPED).json
    refused = web.upload("a.csv", BAD, "/v1/jobs/check", **MAPPED).json
    assert (kept["valid"], kept["items"], refused["valid"]) == (True, 7, False)
    assert [entry["line"] for entry in kept["errors"]] == [3, 4, 5, 6, 7]
    assert kept["errors"] == refused["errors"]


def test_lines_that_are_no_json_may_stay_too(web: Web) -> None:
    content = b'{"id": 1, "text": "a"}\n{"id": \n[1]\n{"vars": {"id": 4}}\n{"text": "b"}\n'
    lines = [line for line, _ in faults(web, "a.jsonl", content, **JOB)]
    assert lines == [2, 3, 4]
    found = submitted(web, "a.jsonl", content, bad_rows="fail", **JOB)
    assert [item["vars"] for item in found] == [
        {"id": 1, "text": "a"},
        None,
        None,
        {"id": 4},
        {"text": "b"},
    ]


def test_a_file_that_breaks_off_is_refused_even_where_bad_rows_stay(web: Web) -> None:
    for content in (b'text\na\n"b\n', b"text\na\n\xff\n"):
        ((line, _),) = faults(web, "a.csv", content, template=TEMPLATE, bad_rows="fail")
        assert line == 3


def test_a_job_of_bad_rows_alone_is_a_job(web: Web) -> None:
    answer = web.upload("a.csv", b"id,text\n1\n2\n", bad_rows="fail", **JOB)
    assert (answer.status_code, answer.json["counts"]["total"]) == (202, 2)


def test_without_a_mapping_bad_rows_may_stay_too(web: Web) -> None:
    found = submitted(web, "a.csv", b"custom_id,prompt\nx\ny,hello\n", bad_rows="fail")
    assert [item["custom_id"] for item in found] == ["x", "y"]


def test_a_template_that_names_no_column_is_refused_before_the_first_row(web: Web) -> None:
    ((line, message),) = faults(web, "a.csv", b"id,txt\n" + b"1,\n" * 1000, **JOB)
    assert line is None and "text" in message and "txt" in message


def test_what_says_how_a_file_is_read_is_refused_by_name(web: Web) -> None:
    for job, field in (
        ({"columns": {"id": "x"}}, "columns.id"),
        ({"columns": {"params": {"heat": "x"}}}, "columns.params"),
        ({"columns": {"prompt": "a", "messages": "b"}}, "columns"),
        ({"format": {"delimiter": ";;"}}, "format.delimiter"),
        ({"format": {"delimiter": '"'}}, "format.delimiter"),
        ({"format": {"encoding": "latin-1"}}, "format.encoding"),
        ({"format": {"sheet": "One"}}, "format.sheet"),
        ({"bad_rows": "keep"}, "bad_rows"),
    ):
        answer = web.upload("a.csv", b"text\na\n", **job)
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field), job


def test_what_is_said_of_another_format_is_refused(web: Web) -> None:
    for name, said in (
        ("a.xlsx", {"delimiter": ";"}),
        ("a.parquet", {"encoding": "utf-8"}),
        ("b.csv", {"sheet": "One"}),
        ("a.jsonl", {"delimiter": ","}),
    ):
        (field,) = said
        parts = {"file": (io.BytesIO(FILES[name]), name), "purpose": "input"}
        stored = {"input_file": web.post("/v1/files", data=parts).json["id"]}
        answers = (
            web.upload(name, FILES[name], format=said, **JOB),
            web.post("/v1/jobs", json={**JOB, **stored, "format": said}),
        )
        for answer in answers:
            assert (answer.status_code, answer.json["errors"][0]["field"]) == (
                422,
                f"format.{field}",
            )


def test_the_same_table_under_the_same_key_makes_one_job(web: Web) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = (web.upload("a.csv", BAD, headers=key, bad_rows="fail", **MAPPED) for _ in "12")
    assert first.json["id"] == again.json["id"]
    other = web.upload(
        "a.csv", BAD.replace(b"short", b"long"), headers=key, bad_rows="fail", **MAPPED
    )
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")
    assert json.dumps(first.json["counts"]) == json.dumps(again.json["counts"])


def test_a_job_says_whether_it_keeps_bad_rows(web: Web) -> None:
    kept, refused = (
        web.upload("a.csv", b"prompt\na\n", **job).json["id"] for job in ({"bad_rows": "fail"}, {})
    )
    said = [web.get(f"/v1/jobs/{job}").json["bad_rows"] for job in (kept, refused)]
    assert said == ["fail", None]
    again = web.post(f"/v1/jobs/{kept}/rerun", json={}).json["id"]
    assert web.get(f"/v1/jobs/{again}").json["bad_rows"] is None  # its rows were read already
