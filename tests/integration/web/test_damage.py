"""Records that are damaged in the store: each is left out or shown as such, and never breaks a list
of others."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest

from common.store import keys
from common.store.batches import new_batch_id
from common.store.packing import pack
from tests.support.web import Web

NOT_TEXT = b"\xff\xfe"
BAD_JOB: list[dict[str, Any]] = [
    {"spec": "{"},
    {"spec": "[]"},
    {"spec": NOT_TEXT},
    {"status": "odd"},
    {"total": "many"},
    {"priority": "1e999"},
    {"error_rate": "nan?"},
    {"created_at": "soon"},
    {"created_at": str(-(10**30))},
    {"cancel_reason": "none that is known"},
    {"model": None},
    {"spec": None},
    {"status": None},
]


def damage(web: Web, key: str, fields: dict[str, Any]) -> None:
    """Write these fields into a hash; those of None go."""
    for name, value in fields.items():
        if value is None:
            web.services.redis.hdel(key, name)
        else:
            web.services.redis.hset(key, name, value)


@pytest.mark.parametrize("fields", BAD_JOB)
def test_a_job_that_cannot_be_read_breaks_no_list_and_can_be_deleted(
    web: Web, caplog: pytest.LogCaptureFixture, fields: Any
) -> None:
    first, bad, last = (web.submit() for _ in range(3))
    damage(web, keys.job(bad), fields)
    with caplog.at_level(logging.WARNING):
        listed = web.get("/v1/jobs")
    assert [job["id"] for job in listed.json["data"]] == [last, first]
    assert bad in caplog.text
    page = web.get("/v1/jobs?limit=1").json
    assert (page["has_more"], page["after"]) == (True, last)
    page = web.get(f"/v1/jobs?limit=1&after={last}").json
    assert ([job["id"] for job in page["data"]], page["has_more"]) == ([first], False)
    alone = web.get(f"/v1/jobs/{bad}")
    assert (alone.status_code, alone.json["code"]) == (500, "unreadable_record")
    assert bad in alone.json["detail"]
    assert web.post("/v1/jobs/check", json={"prompts": ["a b"]}).status_code == 200, (
        "an estimate reads recent jobs"
    )
    assert web.call("DELETE", f"/v1/jobs/{bad}").status_code == 204
    assert web.get(f"/v1/jobs/{bad}").status_code == 404


def test_a_key_of_another_type_in_a_jobs_place_breaks_no_list(web: Web) -> None:
    job, bad = web.submit(), "job_0string"
    web.services.redis.set(keys.job(bad), "text", ex=60)
    web.services.redis.zadd(keys.tenant_jobs("acme"), {bad: 9e15})
    assert [each["id"] for each in web.get("/v1/jobs").json["data"]] == [job]


def test_a_deadline_that_an_earlier_version_stored_is_shown_as_the_latest_there_is(
    web: Web,
) -> None:
    job = web.submit()
    web.services.redis.hset(keys.job(job), "deadline", 253402343999000)
    assert web.get("/v1/jobs").json["data"][0]["deadline"] == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("part", "place", "value"),
    [
        ("in", "0", b"no chunk"),
        ("in", "0", pack({"no": "list"})),
        ("in", "0", pack([{"prompt": "a"}, 7, {"prompt": "c"}])),
        ("out", "1", b"no result"),
        ("out", "1", pack({"outputs": "no list"})),
        ("out", "1", pack({"outputs": [{"no": "text"}]})),
        ("st", "1", b"?"),
    ],
)
def test_an_item_that_cannot_be_read_is_shown_as_such(
    web: Web, part: str, place: str, value: Any
) -> None:
    job = web.submit("a", "b", "c")
    web.worker().run()
    if part == "st":
        web.services.redis.setrange(keys.job(job, part), int(place), value)
    else:
        web.services.redis.hset(keys.job(job, part), place, value)
    rows = web.get(f"/v1/jobs/{job}/items").json["data"]
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert rows[1]["error"]["code"] == "unreadable_record"
    if part != "in" or value.endswith(pack([{"prompt": "a"}, 7, {"prompt": "c"}])):
        assert [rows[index]["error"] for index in (0, 2)] == [None, None]
    for form in ("jsonl", "csv", "parquet"):
        assert web.get(f"/v1/jobs/{job}/results.{form}").data, "a download goes through to its end"


def test_a_file_that_cannot_be_read_breaks_no_list_and_can_be_deleted(web: Web) -> None:
    ids = [_upload(web) for _ in range(3)]
    for fields in ({"bytes": "many"}, {"filename": NOT_TEXT}, {"expires_at": None}):
        damage(web, keys.file(ids[1]), fields)
        assert [each["id"] for each in web.get("/v1/files").json["data"]] == [ids[2], ids[0]]
    assert web.get(f"/v1/files/{ids[1]}").json["error"]["code"] == "unreadable_record"
    assert web.call("DELETE", f"/v1/files/{ids[1]}").status_code == 200
    assert web.get(f"/v1/files/{ids[1]}").status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": "{"},
        {"metadata": '{"a": 1}'},
        {"created_at": "soon"},
        {"errors": "7"},
        {"window": NOT_TEXT},
    ],
)
def test_a_batch_that_cannot_be_read_breaks_no_list(web: Web, fields: dict[str, Any]) -> None:
    about = {
        "file": "file-0",
        "endpoint": "/v1/completions",
        "window": "24h",
        "expires_at": 9,
        "metadata": "{}",
    }
    ids = [new_batch_id() for _ in range(3)]
    for batch in ids:
        web.services.batches.create(batch, "acme", about)
    damage(web, keys.batch(ids[1]), fields)
    listed = web.get("/v1/batches?limit=2")
    assert (sorted(each["id"] for each in listed.json["data"]), listed.json["has_more"]) == (
        sorted(ids[::2]),
        False,
    )
    assert web.get("/v1/files").json["data"] == []
    alone = web.get(f"/v1/batches/{ids[1]}")
    assert (alone.status_code, alone.json["error"]["code"]) == (500, "unreadable_record")


def test_a_worker_or_model_that_cannot_be_read_breaks_no_list(web: Web) -> None:
    job, worker = web.submit(), web.worker()
    web.services.redis.hset(keys.worker(worker.incarnation.id), "started_at", "soon")
    assert web.get("/v1/workers").json["data"] == []
    web.services.redis.hset(keys.worker(worker.incarnation.id), "slots", "some")
    web.services.redis.sadd(keys.MODELS, "odd")
    web.services.redis.set(keys.model("odd"), "{}")
    assert [each["id"] for each in web.get("/v1/models").json["data"]] == ["echo"]
    assert web.get("/v1/models/odd").json["error"]["code"] == "unreadable_record"
    assert web.get("/v1/workers").json["data"] == []
    assert [each["id"] for each in web.get("/v1/jobs").json["data"]] == [job]
    assert web.get("/metrics").status_code == 200


def test_a_key_or_webhook_event_that_cannot_be_read_breaks_no_list(web: Web) -> None:
    web.services.redis.sadd(keys.KEYS, "gone")
    assert [key.tenant for key in web.services.api_keys.list_keys()] == ["acme"]
    job = web.submit(webhook={"url": "http://192.0.2.1/"})
    web.worker().run()
    event = web.get(f"/v1/jobs/{job}").json["webhooks"][0]["id"]
    web.services.redis.hset(keys.hook(event), "tries", "[")
    assert web.get(f"/v1/jobs/{job}").json["webhooks"] == []


def _upload(web: Web) -> str:
    answer = web.post(
        "/v1/files", data={"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "a.jsonl")}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json["id"])
