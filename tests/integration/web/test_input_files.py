"""Files that are stored once and named by jobs: read as an upload is, by their own tenant only."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.support.uploads import table
from tests.support.web import Answer, Web

LINES = b'{"prompt": "one two", "custom_id": "x"}\n{"prompt": "three"}\n'


def store(web: Web, name: str, content: bytes, purpose: str = "input", **more: Any) -> Answer:
    parts = {"file": FileStorage(io.BytesIO(content), name), "purpose": purpose}
    boundary, data = encode_multipart(parts)
    kind = f"multipart/form-data; boundary={boundary}"
    return web.post("/v1/files", data=data, content_type=kind, **more)


def stored(web: Web, name: str, content: bytes, **more: Any) -> str:
    answer = store(web, name, content, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json["id"])


def test_a_file_that_was_stored_once_makes_the_items_that_an_upload_makes(web: Web) -> None:
    for name, content, options in (
        ("a.jsonl", LINES, {}),
        ("a.csv", "custom_id,prompt\nx,漢字\ny,b\n".encode(), {}),
        ("a.csv", b"q,note\none two,n\n", {"prompt_column": "q"}),
        ("a.txt", b"one\ntwo\n", {}),
        ("a.parquet", table(prompt=["one", "two"], custom_id=["a", "b"]), {}),
    ):
        file_id = stored(web, name, content)
        twice = [
            web.post("/v1/jobs", json={"input_file": file_id, **options}),
            web.upload(name, content, **options),
        ]
        assert [answer.status_code for answer in twice] == [202, 202], [a.text for a in twice]
        first, second = (web.services.store.items(a.json["id"], 0, 10) for a in twice)
        assert first == second and first
        checked = web.post("/v1/jobs/check", json={"input_file": file_id, **options}).json
        assert (checked["valid"], checked["items"]) == (True, len(first))


def test_a_preview_and_a_sweep_take_the_file_too(web: Web) -> None:
    file_id = stored(web, "a.csv", b"id,text\n1,one\n2,two\n")
    job = {
        "input_file": file_id,
        "template": {"prompt": "Say {{text}}"},
        "columns": {"custom_id": "id"},
    }
    seen = web.post("/v1/jobs/preview", json=job).json
    assert [(row["line"], row["custom_id"], row["text"]) for row in seen["rows"]] == [
        (2, "1", "Say one"),
        (3, "2", "Say two"),
    ]
    sweep = web.post("/v1/sweeps", json={**job, "sweep": {"temperature": [0, 1]}})
    assert sweep.status_code == 202, sweep.text
    assert [each["counts"]["total"] for each in sweep.json["jobs"]] == [2, 2]
    other = web.services.api_keys.create_key("other")
    for path, more in (("/v1/jobs/preview", {}), ("/v1/sweeps", {"sweep": {"temperature": [0]}})):
        answer = web.call("POST", path, key=other, json={**job, **more})
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_input_is_kept_for_a_day_unless_told_otherwise(web: Web) -> None:
    about = store(web, "a.jsonl", LINES).json
    assert (about["purpose"], about["expires_at"] - about["created_at"]) == ("input", 86400)
    assert store(web, "a.jsonl", LINES, purpose="table").status_code == 400
    batch = store(web, "a.jsonl", LINES, purpose="batch").json
    assert batch["expires_at"] - batch["created_at"] == 30 * 86400


def test_another_tenants_file_is_not_found_as_none_is(web: Web) -> None:
    file_id = stored(web, "a.jsonl", LINES)
    other = web.services.api_keys.create_key("other")
    answers = [
        web.call("POST", path, key=other, json={"input_file": name})
        for path in ("/v1/jobs", "/v1/jobs/check")
        for name in (file_id, "file-" + "0" * 24)
    ]
    assert {answer.status_code for answer in answers} == {404}
    said = {
        answer.json["detail"].replace(file_id, "?").replace("file-" + "0" * 24, "?")
        for answer in answers
    }
    assert len(said) == 1
    assert web.job_keys() == []


def test_a_file_is_used_for_what_it_was_stored_for(web: Web) -> None:
    for_batches = stored(web, "a.jsonl", LINES, purpose="batch")
    answer = web.post("/v1/jobs", json={"input_file": for_batches})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "input_file")
    batch = web.post(
        "/v1/batches",
        json={
            "input_file_id": stored(web, "a.jsonl", LINES),
            "endpoint": "/v1/completions",
            "completion_window": "24h",
        },
    )
    assert (batch.status_code, batch.json["error"]["param"]) == (400, "input_file_id")


def test_what_is_wrong_with_the_file_is_said_by_line_or_of_the_field(web: Web) -> None:
    file_id = stored(web, "a.jsonl", LINES + b'{"promt": "x"}\n')
    answer = web.post("/v1/jobs", json={"input_file": file_id})
    assert [entry["line"] for entry in answer.json["errors"]] == [3]
    for name, content in (("a.pdf", b"x"), ("a.csv", b"a,a\n1,2\n"), ("a.csv", b"q\nx\n")):
        answer = web.post("/v1/jobs", json={"input_file": stored(web, name, content)})
        assert answer.json["errors"][0]["field"] in (
            "input_file",
            "columns.prompt",
        ), answer.text
    assert web.job_keys() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input_file": 5}, "input_file"),
        ({"input_file": ""}, "input_file"),
        ({"input_file": "f" * 257}, "input_file"),
        ({"input_file": "file-1", "items": [{"prompt": "a"}]}, "items"),
        ({"input_file": "file-1", "prompts": ["a"]}, "prompts"),
        ({"prompts": ["a"], "prompt_column": "q"}, "prompt_column"),
        ({"input_file": "file-1", "colour": "red"}, "colour"),
        ({}, "items"),
    ],
)
def test_items_come_from_one_place(web: Web, body: dict[str, Any], field: str) -> None:
    for path in ("/v1/jobs", "/v1/jobs/check"):
        answer = web.post(path, json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json["errors"][0]["field"] == field


def test_null_means_that_no_file_is_named(web: Web) -> None:
    body = {"prompts": ["a"], "input_file": None, "prompt_column": None}
    assert web.post("/v1/jobs", json=body).status_code == 202


def test_a_file_counts_against_what_a_tenant_may_keep(make_web: Any) -> None:
    web = make_web(max_stored_bytes=2000)
    answer = store(web, "a.txt", bytes(range(256)) * 4 + b"\n" + bytes(3000))
    assert answer.status_code == 200, answer.text
    refused = store(web, "a.txt", os.urandom(4000))
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "storage_full")


def test_a_file_deleted_while_it_is_read_makes_no_job(web: Web, monkeypatch: Any) -> None:
    file_id = stored(web, "a.txt", (b"word " * 10 + b"\n") * 20_000)
    files, chunk = web.services.files, type(web.services.files)._chunk

    def vanish(self: Any, name: str, number: int) -> bytes:
        if number == 2:
            files.delete(name, "acme")
        return chunk(self, name, number)

    monkeypatch.setattr(type(files), "_chunk", vanish)
    answer = web.post("/v1/jobs", json={"input_file": file_id})
    assert answer.status_code == 404 and web.job_keys() == []


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/jobs", {}), ("/v1/sweeps", {"sweep": {"temperature": [0, 1]}})]
)
def test_a_repeated_request_is_answered_as_before_when_its_file_is_gone(
    web: Web, path: str, more: dict[str, Any]
) -> None:
    file_id, again = stored(web, "a.csv", b"prompt\na\n"), stored(web, "a.csv", b"prompt\na\n")
    key, job = {"Idempotency-Key": "k"}, {"format": {"delimiter": ","}, **more}
    first = web.post(path, json={"input_file": file_id, **job}, headers=key)
    assert first.status_code == 202, first.text
    same = web.post(path, json={"input_file": again, **job}, headers=key)  # the same content
    assert (same.status_code, same.json["id"]) == (202, first.json["id"])
    for each in (file_id, again):
        web.call("DELETE", f"/v1/files/{each}")
    late = web.post(path, json={"input_file": file_id, **job}, headers=key)
    assert (late.status_code, late.json.get("id")) == (202, first.json["id"]), late.text
    assert late.headers["Idempotent-Replayed"] == "true"
    for other in ({"input_file": file_id, **job, "priority": 1}, {"input_file": again, **job}):
        assert web.post(path, json=other, headers=key).status_code == 404
    assert web.post(path, json={"input_file": file_id, **job}).status_code == 404
