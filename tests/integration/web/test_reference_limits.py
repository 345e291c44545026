"""How much may be sent as references, and how little of what is wrong is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.scored_jobs import finished_job
from tests.support.web import Answer, Web
from web.intake import references


def ask(web: Web, job_id: str, **body: Any) -> Answer:
    return web.post(f"/v1/jobs/{job_id}/evaluations", json=body)


def test_all_references_together_are_bounded(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "MOST_BYTES", 10)
    job_id = finished_job(web)
    assert ask(web, job_id, references=["12345", None, ["1234", "é"]]).status_code == 413
    answer = ask(web, job_id, references={"three": "12345", "one": "123456"})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert answer.json["errors"][0]["field"] == "references.three"
    assert ask(web, job_id, references=["12345", None, ["123", "é"]]).status_code == 202


def test_at_most_a_hundred_wrong_references_are_told(web: Web) -> None:
    sent: dict[str, list[str]] = {f"{n} {'x' * 1000}": [] for n in range(3000)}
    answer = ask(web, finished_job(web), references=sent)
    assert answer.status_code == 422
    assert answer.json["detail"].startswith("100 problems or more")
    assert len(answer.json["errors"]) == 100 and len(answer.data) < 50_000
    wrong = ask(web, finished_job(web, ["a"] * 1), references={"a": ["b"] * 17, "c": "d"})
    assert [error["code"] for error in wrong.json["errors"]] == [
        "invalid_value",
        "unknown_custom_id",
    ]


def test_more_references_than_a_job_may_have_items_are_not_read(web: Web) -> None:
    most = web.services.settings.max_items
    body = b'{"references": {' + b",".join(b'"%d":""' % n for n in range(most + 2)) + b"}}"
    path = f"/v1/jobs/{finished_job(web)}/evaluations"
    answer = web.post(path, data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_a_body_over_16_mib_is_told_to_be_a_file(web: Web) -> None:
    body = json.dumps({"references": {str(n): "a" * 60_000 for n in range(300)}})
    path = f"/v1/jobs/{finished_job(web)}/evaluations"
    answer = web.post(path, data=body, content_type="application/json")
    assert answer.status_code == 413 and "the multipart part `file`" in answer.json["detail"]


def test_items_without_ids_have_references_by_position_only(web: Web) -> None:
    job_id = finished_job(web, [{"prompt": "a"}])
    answer = ask(web, job_id, references={"a": "b"})
    assert "none has any" in answer.json["errors"][0]["message"]


def test_no_more_is_kept_than_the_tenant_may_store(make_web: Any) -> None:
    web = make_web(max_stored_bytes=20_000)
    job_id = finished_job(web, ["one"])
    text = "".join(chr(0x4E00 + n) for n in range(16_000))  # 48,000 bytes, hardly compressed
    answer = ask(web, job_id, references=[text])
    assert (answer.status_code, answer.json["code"]) == (429, "storage_full")
    assert web.services.redis.keys("pm:eval:*") == []
