"""Rows of a table that cannot run fail in their places, and the rest of the job runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from common.settings import Settings
from tests.support.waiting import wait_until
from tests.support.web import Web
from tests.support.workers import Workers

TABLE = b"""id,text,temp,note
007,fine,,a
2,short
7,too,1,b,many
007,again,1,c
5,,1,d
6,hot,warm,e
7,"fine
too",0.5,f
"""
JOB: dict[str, Any] = {
    "model": "echo",
    "template": {"prompt": "Say {{text}}"},
    "columns": {"custom_id": "id", "params": {"temperature": "temp"}},
    "bad_rows": "fail",
}


@pytest.fixture
def web(redis_url: str) -> Iterator[Web]:
    made = Web(Settings.load(redis_url=redis_url))
    yield made
    made.services.watches.close()
    made.services.redis.close()


def finished(web: Web, answer: Any) -> str:
    assert answer.status_code == 202, answer.text
    job_id = str(answer.json["id"])
    wait_until(
        lambda: web.get(f"/v1/jobs/{job_id}").json["status"] == "completed", "it never ended"
    )
    return job_id


def test_bad_rows_fail_in_their_places_and_the_rest_runs(workers: Workers, web: Web) -> None:
    workers.start()
    job_id = finished(web, web.upload("a.csv", TABLE, **JOB))
    found = web.get(f"/v1/jobs/{job_id}/items").json["data"]
    assert [item["status"][0] for item in found] == list("sffffff")[:7]
    assert [(item["custom_id"], (item["error"] or {}).get("code")) for item in found] == [
        ("007", None),
        ("2", "malformed_item"),
        ("7", "malformed_item"),
        (None, "duplicate_custom_id"),
        ("5", "missing_variable"),
        ("6", "wrong_type"),
        (None, "duplicate_custom_id"),
    ]
    assert [item["error"]["message"].split(":")[0] for item in found[1:]] == [
        f"line {line}" for line in range(3, 9)
    ]
    assert [item["vars"]["text"] for item in found if "text" in item["vars"]] == [
        "fine", "short", "too", "again", "", "hot", "fine\ntoo",
    ]  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(web.get(f"/v1/jobs/{job_id}/results.csv").text)))
    assert [row["id"] for row in rows] == ["007", "2", "7", "007", "5", "6", "7"]
    lines = web.get(f"/v1/jobs/{job_id}/results.jsonl").text.splitlines()
    assert [json.loads(line)["vars"]["id"] for line in lines] == [row["id"] for row in rows]


def test_a_table_of_bad_rows_alone_fails_as_a_whole(workers: Workers, web: Web) -> None:
    workers.start()
    job_id = finished(web, web.upload("a.csv", b"id,text,temp\n1\n2\n", **JOB))
    assert web.get(f"/v1/jobs/{job_id}").json["counts"]["failed"] == 2
