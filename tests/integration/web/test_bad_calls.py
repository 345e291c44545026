"""Calls that cannot be answered: headers, queries, routes, and a crash of our own."""

from __future__ import annotations

import pytest

from tests.support.web import Web

GOOD = {"prompts": ["one two three"]}


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "text/csv"]
)
def test_a_wrong_content_type_is_a_415(web: Web, content_type: str) -> None:
    answer = web.post("/v1/jobs", data=b"{}", content_type=content_type)
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_an_idempotency_key_is_visible_ascii(web: Web, key: str) -> None:
    answer = web.post("/v1/jobs", json=GOOD, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert web.job_keys() == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs?limit=0",
        "/v1/jobs?limit=x",
        "/v1/jobs?page=2",
        "/v1/jobs?limit=1&limit=2",
        "/v1/workers?limit=1",
    ],
)
def test_a_bad_query_is_refused(web: Web, path: str) -> None:
    assert web.get(path).status_code == 422


def test_what_nobody_would_read_is_refused(web: Web) -> None:
    job_id = web.submit()
    for answer in (
        web.post("/v1/jobs?model=echo", json=GOOD),
        web.post(f"/v1/jobs/{job_id}/cancel", json={"reason": "late"}),
        web.post(f"/v1/jobs/{job_id}/retry", json={"params": {"temperature": 0}}),
    ):
        assert (answer.status_code, answer.json["code"]) == (422, "unknown_field")
    assert web.get(f"/v1/jobs/{job_id}").json["flags"]["cancel_requested"] is False
    assert web.post(f"/v1/jobs/{job_id}/cancel", json={}).status_code == 202
    assert web.get("/healthz?probe=1").status_code == 200


@pytest.mark.parametrize("body", [{}, {"priority": 11}, {"deadline": -1}, {"paused": True}])
def test_an_edit_changes_something_or_is_refused(web: Web, body: dict) -> None:
    assert web.call("PATCH", f"/v1/jobs/{web.submit()}", json=body).status_code == 422


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "soon"])
def test_a_wait_is_bounded(web: Web, wait: str) -> None:
    assert web.get(f"/v1/jobs/{web.submit()}?wait={wait}").status_code == 422


def test_unknown_routes_and_methods_are_problems_too(web: Web) -> None:
    nowhere, wrong = web.get("/v1/jobs/a/b/c"), web.call("PUT", "/v1/jobs")
    assert (nowhere.status_code, nowhere.json["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json["code"]) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["Allow"]


def test_a_crash_is_logged_and_tells_nothing(
    web: Web, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("web.api.jobs.submit_job", broken)
    answer = web.post("/v1/jobs", json=GOOD)
    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text
    assert answer.json["request_id"] in answer.text
