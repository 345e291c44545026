"""Downloads with a column for each field of the JSON that was generated: `?flatten=1`."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.cards import card
from tests.support.columns import table_job
from tests.support.web import Web, Worker


def said(value: Any) -> dict[str, Any]:
    return {"text": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def rows_of(web: Web, job: str, query: str = "?flatten=1") -> list[dict[str, str]]:
    answer = web.get(f"/v1/jobs/{job}/results.csv{query}")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def table_of(web: Web, job: str, query: str = "?flatten=1") -> pa.Table:
    answer = web.get(f"/v1/jobs/{job}/results.parquet{query}")
    assert answer.status_code == 200, answer.text
    return parquet.read_table(pa.BufferReader(answer.data))


def test_each_field_is_a_column_after_ours(web: Web) -> None:
    job = web.submit("a", "b", "c")
    web.worker().say(
        said({"name": "Ann", "age": 3, "tags": ["x"]}),
        said('{"age": 4.50, "ok": true}'),
        said("no"),
    )
    rows = rows_of(web, job)
    assert list(rows[0])[-5:] == [
        "error_message",
        "output.name",
        "output.age",
        "output.tags",
        "output.ok",
    ]
    assert [list(row.values())[-4:] for row in rows] == [
        ["Ann", "3", '["x"]', ""],
        ["", "4.50", "", "true"],
        ["", "", "", ""],
    ]
    assert [row["text"] for row in rows][2] == "no"
    assert "output.name" not in rows_of(web, job, "")[0]


def test_parquet_has_the_types_that_keep_the_values(web: Web) -> None:
    job = web.submit("a", "b", "c")
    web.worker().say(
        said({"n": 3, "x": 3, "s": "a", "b": True, "o": {"a": 1}}),
        said({"n": None, "x": 0.5, "s": 1, "b": False, "o": []}),
        said({}),
    )
    table = table_of(web, job)
    found = {name: table[f"output.{name}"] for name in "nxsbo"}
    assert {name: str(column.type) for name, column in found.items()} == {
        "n": "int64",
        "x": "double",
        "s": "string",
        "b": "bool",
        "o": "string",
    }
    assert {name: column.to_pylist() for name, column in found.items()} == {
        "n": [3, None, None],
        "x": [3.0, 0.5, None],
        "s": ["a", "1", None],
        "b": [True, False, None],
        "o": ['{"a": 1}', "[]", None],
    }


def test_a_table_keeps_its_columns_and_fields_have_our_prefix(web: Web) -> None:
    job = table_job(web, ["pm_output.name", "id"], [["x", "7"]])
    web.worker().say(said({"name": "Ann", "id": 1}))
    (row,) = rows_of(web, job)
    assert list(row)[:3] == ["pm_output.name", "id", "pm2_index"]
    assert (row["pm_output.name"], row["pm2_output.name"]) == ("x", "Ann")
    assert (row["id"], row["pm2_output.id"]) == ("7", "1")
    assert len(set(row)) == len(row)


def test_formulas_are_guarded_and_strange_names_come_back(web: Web) -> None:
    names = ["", "=1+1", 'a"b,c', "line\nbreak", "\x00", "東京", "output.text", "text"]
    job = web.submit("a")
    web.worker().say(said(dict.fromkeys(names, "=1+1") | {"n": -3, "d": "-3"}))
    (row,) = rows_of(web, job)
    assert list(row)[-10:] == [f"output.{name}" for name in (*names, "n", "d")]
    assert {row[f"output.{name}"] for name in names} == {"'=1+1"}
    assert (row["output.n"], row["output.d"]) == ("-3", "-3")
    (bare,) = rows_of(web, job, "?flatten=1&guard=0")
    assert bare["output.東京"] == "=1+1"
    assert table_of(web, job).column_names[-10:] == list(row)[-10:]


def test_a_job_that_runs_has_the_columns_of_what_is_over(web: Web) -> None:
    job = web.submit("a", "b")
    worker = web.worker()
    worker.say(said({"a": 1}))
    assert [row["output.a"] for row in rows_of(web, job)] == ["1"]
    worker.say(said({"b": "x"}))
    assert [(row["output.a"], row["output.b"]) for row in rows_of(web, job)] == [
        ("1", ""),
        ("", "x"),
    ]


def test_the_columns_of_merged_retries_are_those_of_the_rows_that_count(web: Web) -> None:
    job = web.submit("a", "b")
    worker = web.worker()
    worker.run(1, error="engine_error")
    worker.say(said({"first": 1}))
    assert web.post(f"/v1/jobs/{job}/retry").status_code == 202
    worker.say(said({"again": 2}))
    assert "output.again" not in rows_of(web, job)[0]
    rows = rows_of(web, job, "?flatten=1&merge=retries")
    assert [(row["output.again"], row["output.first"]) for row in rows] == [("2", ""), ("", "1")]


def test_columns_are_two_hundred_at_most(web: Web) -> None:
    job = web.submit("a")
    web.worker().say(said({f"f{at}": at for at in range(250)}))
    (row,) = rows_of(web, job)
    assert [name for name in row if name.startswith("output.")] == [
        f"output.f{at}" for at in range(200)
    ]
    assert len(json.loads(row["text"])) == 250


def json_job(web: Web, *own: dict[str, Any], **params: Any) -> tuple[str, Worker]:
    """The id of a job whose items have these parameters, and a worker for it."""
    able = card("able", engine="native", features=["structured_output"])
    web.services.fleet.publish(able, b"")
    items = [{"prompt": "a", "params": each} for each in own]
    answer = web.post("/v1/jobs", json={"model": "able", "items": items, "params": params})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"]), web.worker(able)


ANY_JSON = {"output": {"json": True}}
LABEL = {"output": {"choice": ["a"]}}


def test_rows_say_whether_the_text_is_json_where_that_was_asked_for(web: Web) -> None:
    job, worker = json_job(web, {}, {}, LABEL, **ANY_JSON)
    cut = {"text": '{"a": ', "finish_reason": "length", "json_valid": False}
    worker.say({"text": '{"a": 1}', "json_valid": True}, cut, {"text": "a"})
    assert [row["json_valid"] for row in rows_of(web, job, "")] == ["true", "false", ""]
    flat = rows_of(web, job)
    assert [(row["json_valid"], row["output.a"]) for row in flat] == [
        *(("true", "1"), ("false", ""), ("", "")),
    ]
    assert table_of(web, job, "")["json_valid"].to_pylist() == [True, False, None]
    lines = web.get(f"/v1/jobs/{job}/results.jsonl").text.splitlines()
    outputs = [json.loads(line)["outputs"][0] for line in lines]
    assert [output.get("json_valid") for output in outputs] == [True, False, None]


@pytest.mark.parametrize(("params", "asked"), [(ANY_JSON, True), (LABEL, False)])
def test_the_column_is_there_where_only_items_ask_for_json(
    web: Web, params: Any, asked: bool
) -> None:
    job, worker = json_job(web, {}, params)
    worker.say({"text": "x"})
    assert ("json_valid" in rows_of(web, job, "")[0]) is asked


def test_the_column_is_there_where_items_that_were_added_ask_for_json(web: Web) -> None:
    job, worker = json_job(web, {}, {})
    worker.say({"text": "x"})
    assert "json_valid" not in rows_of(web, job, "")[0]
    more = {"items": [{"prompt": "b", "params": ANY_JSON}]}
    assert web.post(f"/v1/jobs/{job}/items", json=more).status_code == 202
    worker.say({"text": "y"}, {"text": "{}", "json_valid": True})
    assert [row["json_valid"] for row in rows_of(web, job, "")] == ["", "", "true"]


def test_chats_on_a_model_that_thinks_have_a_column_of_thoughts(web: Web) -> None:
    chat = "{% for message in messages %}{{ message.content }}{% endfor %}"
    thinker = card("thinker", engine="native", features=["thinking"], chat_template=chat)
    web.services.fleet.publish(thinker, b"")
    worker = web.worker(thinker)

    def header(*items: dict[str, Any]) -> list[dict[str, str]]:
        answer = web.post("/v1/jobs", json={"model": "thinker", "items": items})
        assert answer.status_code == 202, answer.text
        worker.say(*({"text": "so", "reasoning": "=why"} for _ in items))
        return rows_of(web, str(answer.json["id"]), "")

    asked = {"messages": [{"role": "user", "content": "a"}]}
    (row,) = header(asked)
    assert (row["text"], row["reasoning"]) == ("so", "'=why")
    assert "reasoning" not in header({"prompt": "a"})[0]


def test_flatten_means_nothing_for_jsonl(web: Web) -> None:
    job = web.submit("a")
    answer = web.get(f"/v1/jobs/{job}/results.jsonl?flatten=1")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "flatten"
    assert "results.csv and results.parquet" in answer.json["detail"]


def test_another_tenants_job_is_not_found(web: Web) -> None:
    job = web.submit("a")
    other = web.services.api_keys.create_key("other")
    answer = web.get(f"/v1/jobs/{job}/results.csv?flatten=1", key=other)
    assert answer.status_code == 404


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_empty_download_has_the_columns_of_ours(web: Web, form: str) -> None:
    job = web.submit("a")
    answer = web.get(f"/v1/jobs/{job}/results.{form}?flatten=1")
    assert answer.status_code == 200
