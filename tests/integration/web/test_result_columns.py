"""Downloads of a job made of a table: its own columns come back as they went in, ours follow."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.columns import ABSENT, table_job
from tests.support.web import Web

NASTY = [
    *("-3", "007", "1.0", "=1+1", "+886 2", "{{other}}", "@x", "\ttab", "+1.5e3", "", " "),
    *('say "hi"', "a,b;c", "one\ntwo", "one\r\ntwo", "one\rtwo", "東京\u2028タワー", "NA", "null"),
]
NAMES = ["", "text", "status", "n", "seed", "=formula", "index"]


def download(web: Web, job: str, form: str, query: str = "") -> bytes:
    answer = web.get(f"/v1/jobs/{job}/results.{form}{query}")
    assert answer.status_code == 200, answer.text
    return bytes(answer.data)


def nasty(web: Web, **job: Any) -> tuple[str, pd.DataFrame]:
    """A table as pandas writes it, with its index, and the id of a job that was made of it."""
    rows = [[NASTY[(at + 3 * place) % len(NASTY)] for place in range(6)] for at in range(19)]
    sent = pd.DataFrame(rows, columns=NAMES[1:])
    # By itself pandas does not quote a cell with a carriage return alone, which then ends a row.
    answer = web.upload("table.csv", sent.to_csv(quoting=csv.QUOTE_ALL).encode(), **job)
    assert answer.status_code == 202, answer.text
    web.worker().run(19)
    sent.insert(0, "", [str(at) for at in range(19)])
    return str(answer.json["id"]), sent


def read(content: bytes) -> pd.DataFrame:
    found: pd.DataFrame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    # pandas invents a name for a column without one.
    return found.rename(columns={"Unnamed: 0": ""})


def test_every_cell_of_a_csv_comes_back_as_it_was_written(web: Web) -> None:
    job, sent = nasty(web, template={"prompt": "Summarise: {{index}}"}, bad_rows="fail")
    with_guard = list(csv.reader(io.StringIO(download(web, job, "csv").decode(), newline="")))
    found = read(download(web, job, "csv", "?guard=0"))
    pd.testing.assert_frame_equal(found[NAMES], sent)
    assert with_guard[0][:7] == ["", "text", "status", "n", "seed", "'=formula", "index"]
    cells = {cell for row in with_guard[1:] for cell in row[1:7]}
    spared = {cell for cell in NASTY if not cell.startswith(("=", "+8", "@", "\t"))}
    assert cells == spared | {"'=1+1", "'+886 2", "'@x", "'\ttab"}


def test_input_columns_come_first_and_ours_under_names_that_are_free(web: Web) -> None:
    job = table_job(web, ["id", "text"], [["a", "b"]])
    web.worker().run()
    header = download(web, job, "csv").decode().split("\r\n")[0].split(",")
    assert header[:6] == ["id", "text", "pm_index", "pm_status", "pm_output", "pm_text"]
    assert sorted(header[6:]) == [
        *("pm_completion_tokens", "pm_custom_id", "pm_error_code", "pm_error_message"),
        *("pm_finish_reason", "pm_model", "pm_prompt_tokens", "pm_seed", "pm_token_count"),
    ]


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["pm_text"], "pm2_"),
        (["pm_other", "pm2_x"], "pm3_"),
        (["pm2_x"], "pm_"),
        (["pmx", "PM_text"], "pm_"),
    ],
)
def test_a_table_that_has_our_prefix_gets_the_next(web: Web, names: list[str], prefix: str) -> None:
    job = table_job(web, names, [["x"] * len(names)])
    web.worker().run()
    header = download(web, job, "csv").decode().split("\r\n")[0].split(",")
    assert header[: len(names)] == names
    assert all(name.startswith(prefix) for name in header[len(names) :])
    assert len(set(header)) == len(header)
    found = parquet.read_table(pa.BufferReader(download(web, job, "parquet")))
    assert found.column_names == header


def test_a_row_of_several_outputs_has_its_columns_in_each(web: Web) -> None:
    job = table_job(web, ["id"], [["a"], ["b"]])
    worker = web.worker()
    worker.run(1, n=2)
    worker.run(1, error="engine_error")
    rows = list(csv.DictReader(io.StringIO(download(web, job, "csv").decode())))
    assert [(row["id"], row["pm_output"], row["pm_text"]) for row in rows] == [
        ("a", "0", "said 0"),
        ("a", "1", "said 0"),
        ("b", "", ""),
    ]


def test_values_that_are_no_text_are_json_in_a_csv(web: Web) -> None:
    values = [1, 1.0, True, None, [1, "é"], {"a": None}, ABSENT]
    job = table_job(web, ["v", "w"], [[value, "x"] for value in values])
    web.worker().run()
    found = read(download(web, job, "csv"))
    assert list(found["v"]) == ["1", "1.0", "true", "", '[1, "é"]', '{"a": null}', ""]


def test_jsonl_and_items_have_vars_in_the_order_of_the_columns(web: Web) -> None:
    job = table_job(web, ["z", "a", "m"], [["1", "2", "3"], ["4", ABSENT, None]], used=["m"])
    web.worker().run()
    rows = [json.loads(line) for line in download(web, job, "jsonl").splitlines()]
    assert [list(row["vars"].items()) for row in rows] == [
        [("z", "1"), ("a", "2"), ("m", "3")],
        [("z", "4"), ("m", None)],
    ]
    listed = web.get(f"/v1/jobs/{job}/items").json["data"]
    assert [row["vars"] for row in listed] == [row["vars"] for row in rows]


def test_a_mapped_reference_is_shown_and_stays_a_column(web: Web) -> None:
    golds = ["gold", '["a", "b"]', "", "[not json"]
    job = table_job(web, ["gold"], [[gold] for gold in golds], mapped={"reference": "gold"})
    web.worker().run()
    rows = [json.loads(line) for line in download(web, job, "jsonl").splitlines()]
    assert [row.get("reference") for row in rows] == ["gold", ["a", "b"], None, "[not json"]
    assert [row["vars"]["gold"] for row in rows] == golds


def test_a_csv_begins_with_a_byte_order_mark_on_request(web: Web) -> None:
    job = table_job(web, ["名"], [["値"]])
    web.worker().run()
    plain, marked = download(web, job, "csv"), download(web, job, "csv", "?bom=1")
    assert marked == b"\xef\xbb\xbf" + plain
    assert plain.startswith("名,pm_index".encode())


def test_a_file_has_the_name_of_its_job(web: Web) -> None:
    def header(name: str, form: str) -> str:
        job = web.submit("a", metadata={"name": name})
        found: str = web.get(f"/v1/jobs/{job}/results.{form}").headers["Content-Disposition"]
        return found

    assert header("My job", "csv") == 'attachment; filename="My job.csv"'
    assert header("評価 1", "jsonl") == (
        "attachment; filename=\"__ 1.jsonl\"; filename*=UTF-8''%E8%A9%95%E4%BE%A1%201.jsonl"
    )
    assert header('../../etc/"x"\r\nSet-Cookie: a', "csv") == (
        'attachment; filename="_.._etc_x_Set-Cookie_ a.csv"'
    )
    assert header("..", "parquet") == 'attachment; filename="results.parquet"'


@pytest.mark.parametrize(
    "query", ["bmo=1", "guard=maybe", "params=all", "bom=1&bom=1", "params=full", "include=x"]
)
def test_a_download_refuses_what_it_does_not_know(web: Web, query: str) -> None:
    answer = web.get(f"/v1/jobs/{web.submit()}/results.csv?{query}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, query.split("=")[0])
    assert web.get(f"/v1/jobs/{web.submit()}/results.jsonl?bom=1").status_code == 422


def test_rendered_prompts_come_along_where_they_are_asked_for(web: Web) -> None:
    rows = [["a {{n}}", "1"], ["b", "2"]]
    job = table_job(web, ["text", "n"], rows, used=["text", "n"])
    web.worker().run()
    lines = download(web, job, "jsonl", "?include=prompt").splitlines()
    assert [json.loads(line)["rendered"] for line in lines] == ["a {{n}} 1", "b 2"]
    assert list(read(download(web, job, "csv", "?include=prompt"))["pm_rendered"]) == [
        "a {{n}} 1",
        "b 2",
    ]
    for query in ("", "&text=a"):
        listed = web.get(f"/v1/jobs/{job}/items?include=prompt{query}").json["data"]
        assert listed[0]["rendered"] == "a {{n}} 1"
    assert web.get(f"/v1/jobs/{job}/items").json["data"][0]["rendered"] is None
    plain = web.submit("used as it is")
    assert web.get(f"/v1/jobs/{plain}/items?include=prompt").json["data"][0]["rendered"] == (
        "used as it is"
    )


def test_a_prompt_that_cannot_be_rendered_any_more_is_null(web: Web) -> None:
    rows = [["text", "1"], ["", "2"]]
    job = table_job(web, ["text", "n"], rows, used=["text"], truncate={"to": 1, "keep": "start"})
    listed = web.get(f"/v1/jobs/{job}/items?include=prompt").json["data"]
    assert [row["rendered"] for row in listed] == ["text", None]
    web.post(f"/v1/jobs/{job}/cancel")
    web.services.fleet.publish(web.card.model_copy(update={"digest": "another"}), b"")
    time.sleep(1.1)  # a card is read anew every second
    listed = web.get(f"/v1/jobs/{job}/items?include=prompt").json["data"]
    assert [row["rendered"] for row in listed] == [None, None]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_merged_results_have_the_rows_of_the_retries_that_count(web: Web, form: str) -> None:
    """Item 0 succeeded; 1 failed and its retry succeeded; 2 failed twice; 3 was not retried."""
    columns, rows = ["id"], [["a"], ["b"], ["c"], ["d"]]
    job = table_job(web, columns, rows)
    worker = web.worker()
    worker.run(1)
    worker.run(3, error="engine_error")
    again = table_job(web, columns, [["c"], ["b"]], origins=[[job, 2], [job, 1]], retry_of=job)
    worker.run(1, error="worker_lost")
    worker.run(1, text="second")

    def merged(query: str) -> list[tuple[Any, ...]]:
        content = download(web, job, form, query)
        if form == "jsonl":
            return [
                (
                    row["index"],
                    row["vars"]["id"],
                    row["outputs"][0]["text"] if row["outputs"] else None,
                    row["error"] and row["error"]["code"],
                    row.get("retried_in"),
                )
                for row in map(json.loads, content.splitlines())
            ]
        table = (
            parquet.read_table(pa.BufferReader(content)).to_pandas()
            if form == "parquet"
            else pd.read_csv(io.BytesIO(content))
        )
        names = ["pm_index", "id", "pm_text", "pm_error_code", "pm_retried_in"]
        table = table.reindex(columns=names).astype(object)
        return list(table.where(table.notna(), None).itertuples(index=False, name=None))

    assert merged("?merge=retries") == [
        (0, "a", "said 0", None, None),
        (1, "b", "second 1", None, again),
        (2, "c", None, "worker_lost", again),
        (3, "d", None, "engine_error", None),
    ]
    assert merged("")[1] == (1, "b", None, "engine_error", None)


def test_a_damaged_side_shows_at_its_items_and_spoils_no_other(web: Web) -> None:
    rows = [[str(at), "x"] for at in range(70)]  # two chunks
    job = table_job(web, ["id", "text"], rows, used=["text"])
    web.worker(web.card.model_copy(update={"slots": 128})).run(128)
    web.services.redis.hset(f"pm:job:{job}:side", "64", b"\x00 nothing")
    lines = [json.loads(line) for line in download(web, job, "jsonl").splitlines()]
    listed = web.get(f"/v1/jobs/{job}/items?limit=100").json["data"]
    for found in (lines, listed):
        assert [row["vars"]["id"] for row in found[:64]] == [str(at) for at in range(64)]
        assert {row["error"]["code"] for row in found[64:]} == {"unreadable_record"}
        assert [row["index"] for row in found] == list(range(70))
    assert len(web.get(f"/v1/jobs/{job}/items?text=said&limit=100").json["data"]) == 64


def test_names_and_cells_of_any_characters_come_back(web: Web) -> None:
    names = ["", "a\nb", 'quo"te', "=x", "\u200b", "a,b", "pm", "\x00"]
    cells = ["\x00", "\r", "\n", '"', ",", "\u2028", "😀", "\ufeff"]
    job = table_job(web, names, [cells])
    web.worker().run()
    content = download(web, job, "csv", "?guard=0").decode()
    header, row = csv.reader(io.StringIO(content, newline=""))
    assert (header[:8], row[:8]) == (names, cells)
    table = parquet.read_table(pa.BufferReader(download(web, job, "parquet")))
    assert table.column_names[:8] == names
    assert [table.column(at)[0].as_py() for at in range(8)] == cells
    (line,) = download(web, job, "jsonl").decode().splitlines()
    assert json.loads(line)["vars"] == dict(zip(names, cells, strict=True))
