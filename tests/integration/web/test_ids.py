"""Ids in paths and bodies: what cannot be one is a 404 in the words of its dialect, whatever else
the store holds."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from flask import Flask

from common import ids
from common.errors import NotFound
from common.store.batches import new_batch_id
from common.store.raters import new_rater_id
from tests.support.studies import made_study
from tests.support.web import Web

PARTS = (":st", ":out", ":hooks", ":data", ":jobs", "%3Ast", "%00", "%0A", "x" * 5000)
NOUNS = {
    "job_id": "job_0",
    "batch_id": "batch_0",
    "file_id": "file-0",
    "sweep_id": "sweep_0",
    "study_id": "study_0",
    "rater_id": "rater_0",
    "evaluation_id": "eval_0",
}
NATIVE = ("/v1/jobs/", "/v1/sweeps/", "/v1/studies/", "/v1/evaluations/")
FILL = {
    "form": "jsonl",
    "index": "0",
    "name": "m",
    "way": "next",
    "share_id": "s",
    "study_id": "study_0",
    "rater_id": "rater_0",
}


def body_of(method: str, path: str) -> dict[str, Any]:
    """What a request to this route has to send, as options of the call."""
    if method == "POST" and path.endswith("/items"):
        return {"json": {"prompts": ["a"]}}
    if path.endswith("/rerun"):
        return {"json": {}}
    if path.startswith("/v1/") and path.endswith("/raters"):
        return {"json": {"name": "Eve"}}
    if method == "PATCH":
        return {"json": {"prompts": ["a"]} if path.endswith("/items") else {"priority": 1}}
    return {}


def paths(app: Flask, noun: str, bad: str) -> list[tuple[str, str]]:
    """Every route with such an id in it, as (method, path) with `bad` in its place."""
    return [
        (
            method,
            re.sub(
                r"<(?:[^:>]+:)?(\w+)>",
                lambda part: bad if part[1] == noun else FILL[part[1]],
                rule.rule,
            ),
        )
        for rule in app.url_map.iter_rules()
        if noun in rule.arguments
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
    ]


@pytest.fixture
def strangers(web: Web) -> dict[str, str]:
    """Another tenant's job, sweep, study, file, batch and evaluation, with all their keys."""
    key = web.services.api_keys.create_key("other")
    job = web.post(
        "/v1/jobs", key=key, json={"prompts": ["a", "b"], "webhook": {"url": "http://192.0.2.1/"}}
    ).json["id"]
    body = {"prompts": ["a"], "sweep": {"temperature": [0, 1]}}
    sweep = web.post("/v1/sweeps", key=key, json=body).json["id"]
    web.worker().run(room=1)
    content = {"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "a.jsonl")}
    file, batch = web.post("/v1/files", key=key, data=content).json["id"], new_batch_id()
    about = {
        "file": file,
        "endpoint": "/v1/completions",
        "window": "24h",
        "expires_at": 9,
        "metadata": "{}",
    }
    web.services.batches.create(batch, "other", about)
    web.services.redis.rpush(f"pm:batch:{batch}:hooks", "evt_1")
    study = made_study(web.services.redis, tenant="other")
    rater = new_rater_id()
    web.services.raters.add(study, "other", rater, "Ada", False)
    over = web.post("/v1/jobs", key=key, json={"prompts": ["a"]}).json["id"]
    web.services.store.cancel(over)
    evaluation = web.post(f"/v1/jobs/{over}/evaluations", key=key, json={"metrics": ["chrf"]})
    return {
        "job_id": job,
        "batch_id": batch,
        "file_id": file,
        "sweep_id": sweep,
        "study_id": study,
        "rater_id": rater,
        "evaluation_id": evaluation.json["id"],
    }


def test_no_id_reaches_a_part_of_anothers_record(web: Web, strangers: dict[str, str]) -> None:
    tried = 0
    for noun, real in strangers.items():
        for bad in (base + part for base in (real, NOUNS[noun]) for part in PARTS):
            for method, path in paths(web.app, noun, bad):
                answer = web.call(method, path, **body_of(method, path))
                tried += 1
                assert answer.status_code == 404, (method, path, answer.text)
                if path.startswith("/v1/"):
                    native = path.startswith(NATIVE)
                    told = answer.json["code"] if native else answer.json["error"]["type"]
                    assert told == ("not_found" if native else "invalid_request_error")
    assert tried > 300


@pytest.mark.parametrize(
    "given", ["job_0:st", "file-0:data", "batch_0:hooks", "job_0\n", "", "x" * 10_000]
)
def test_an_id_in_a_body_or_query_is_checked_as_well(
    web: Web, strangers: dict[str, str], given: str
) -> None:
    body = {"input_file_id": given, "endpoint": "/v1/completions", "completion_window": "24h"}
    assert web.post("/v1/batches", json=body).status_code in (400, 404)
    for name in ("jobs", "sweeps", "studies", "batches", "files"):
        answer = web.get(f"/v1/{name}", query_string={"after": given})
        native = name in ("jobs", "sweeps", "studies")
        assert answer.status_code == (404 if given or native else 200), (name, answer.text)


@pytest.mark.parametrize("index", ["99999999999999999999", "2147483648", "2"])
def test_the_page_of_an_item_that_is_none_is_a_404(web: Web, index: str) -> None:
    job = web.submit("a", "b")
    answer = web.get(f"/jobs/{job}/items/{index}", headers={"Accept": "text/html"})
    assert answer.status_code == 404


@pytest.mark.parametrize("name", ["echo:acme", "echo%00", "x" * 5000, "%ED%A0%80", "echo%0A", "s"])
def test_a_models_name_in_a_url_reaches_no_other_key(web: Web, name: str) -> None:
    answer = web.get(f"/v1/models/{name}")
    assert (answer.status_code, answer.json["error"]["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            ids.job,
            "job_0a1",
            ["job_", "job_0:st", "batch_0", "job_0\n", "job_é", "job_" + "0" * 65],
        ),
        (ids.batch, "batch_0a1", ["batch_", "batch_0:hooks", "job_0"]),
        (ids.sweep, "sweep_0a1", ["sweep_", "sweep_0:jobs", "job_0"]),
        (ids.study, "study_0a1", ["study_", "study_0:rows", "job_0"]),
        (ids.rater, "rater_0a1", ["rater_", "rater_0:x", "study_0"]),
        (ids.file, "file-0a1", ["file-", "file-0:data", "file_0"]),
        (ids.tenant, "a-b_c", ["", "A", "a:jobs", "a" * 64]),
        (ids.api_key, "0123456789ab", ["", "0:1", "é"]),
        (ids.model, "my-org/my model:8b", ["", "a\0", "a\n", "a\x7f", "\ud800", "a" * 257]),
    ],
)
def test_each_noun_has_its_pattern(check: Any, good: str, bad: list[str]) -> None:
    assert check(good) == good
    for each in bad:
        with pytest.raises(NotFound):
            check(each)
