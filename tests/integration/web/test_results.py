"""Results as they are downloaded: JSON Lines, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from cli.valkey import Valkey
from common.settings import Settings
from common.store.job import Job
from tests.support.web import Web
from web.schemas.items import ResultRow


def lines(web: Web, job: str) -> list[dict]:
    return [json.loads(line) for line in web.get(f"/v1/jobs/{job}/results.jsonl").text.splitlines()]


def table(web: Web, job: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(web.get(f"/v1/jobs/{job}/results.csv").text)))


def test_results_are_the_items_that_are_over_in_order(web: Web) -> None:
    job = web.submit(*"abcd")
    worker = web.worker()
    first, second = worker.take(1), worker.take(1)
    worker.finish(second)
    assert [row["index"] for row in lines(web, job)] == [1]
    worker.finish(first)
    worker.run()
    rows = lines(web, job)
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert rows[2]["params"]["max_tokens"] == 99
    assert rows[2]["seed"] == 7
    for row in rows:
        ResultRow.model_validate(row, strict=False)


def test_a_csv_has_one_row_per_output(web: Web) -> None:
    job = web.submit("a", "b", params={"n": 2})
    worker = web.worker()
    worker.run(2, n=2)
    worker.run(2, error="engine_error")
    found = [
        (row["index"], row["output"], row["text"], row["error_code"]) for row in table(web, job)
    ]
    assert found == [
        ("0", "0", "said 0", ""),
        ("0", "1", "said 0", ""),
        ("1", "", "", "engine_error"),
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_csv_never_holds_a_formula(web: Web, start: str) -> None:
    job = web.post("/v1/jobs", json={"items": [{"prompt": "a", "custom_id": f"{start}x"}]}).json[
        "id"
    ]
    web.worker().run(text=f"{start}cmd|' /C calc'!A0")
    (row,) = table(web, job)
    assert row["text"] == f"'{start}cmd|' /C calc'!A0 0"
    assert row["custom_id"] == f"'{start}x"
    assert lines(web, job)[0]["custom_id"] == f"{start}x"


def test_parquet_holds_what_csv_holds_with_types(web: Web) -> None:
    job = web.submit("a", "b")
    web.worker().run()
    answer = web.get(f"/v1/jobs/{job}/results.parquet")
    found = parquet.read_table(pa.BufferReader(answer.data)).to_pylist()
    assert [(row["index"], row["text"], row["token_count"]) for row in found] == [
        (0, "said 0", 2),
        (1, "said 1", 2),
    ]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_results_of_nothing_yet_are_an_empty_file(web: Web, form: str) -> None:
    answer = web.get(f"/v1/jobs/{web.submit()}/results.{form}")
    assert answer.status_code == 200
    assert f'.{form}"' in answer.headers["Content-Disposition"]
    rows = (
        parquet.read_table(pa.BufferReader(answer.data)).num_rows
        if form == "parquet"
        else answer.text.count("said")
    )
    assert rows == 0


def test_results_of_thousands_come_in_pieces(web: Web) -> None:
    job = web.submit(*["a"] * 1000)
    worker = web.worker()
    for _ in range(4):
        worker.run(256)
    answer = web.get(f"/v1/jobs/{job}/results.jsonl", buffered=False)
    pieces = list(answer.iter_encoded())
    assert len(pieces) == 8
    assert sum(piece.count(b"\n") for piece in pieces) == 1000
    answer.close()


def test_a_download_of_a_job_deleted_meanwhile_breaks_off(web: Web) -> None:
    job = web.submit(*["a"] * 1000)
    web.worker().run(256)
    answer = web.get(f"/v1/jobs/{job}/results.jsonl", buffered=False)
    pieces = answer.iter_encoded()
    next(pieces)
    web.call("DELETE", f"/v1/jobs/{job}")
    # Of this error the server ends the connection, and logs none.
    with pytest.raises(BrokenPipeError, match="deleted"):
        list(pieces)
    answer.close()


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_download_whose_server_goes_away_before_the_first_piece_is_a_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    valkey = Valkey(tmp_path, durable=False)
    web = Web(Settings.load(redis_url=valkey.start()))
    job, find = web.submit("a"), web.services.store.job

    def find_and_kill(*args: str) -> Job:
        found = find(*args)
        valkey.stop()
        return found

    monkeypatch.setattr(web.services.store, "job", find_and_kill)
    answer = web.get(f"/v1/jobs/{job}/results.{form}")
    assert (answer.status_code, answer.json["code"], "Retry-After" in answer.headers) == (
        503,
        "unavailable",
        True,
    )
    web.services.watches.close()
    web.services.redis.close()
