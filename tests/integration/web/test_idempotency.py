"""A job that is sent again under its key is one job."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.support.cards import card
from tests.support.web import Answer, Web


def test_the_same_key_and_content_is_one_job(web: Web) -> None:
    headers = {"Idempotency-Key": "night-7"}
    first = web.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers)
    again = web.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json["id"] == first.json["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(web.get("/v1/jobs").json["data"]) == 1
    assert not web.services.redis.keys("pm:stage:*")


@pytest.mark.parametrize(
    "other",
    [{"prompts": ["b"]}, {"prompts": ["a"], "priority": 3}, {"prompts": ["a"], "params": {"n": 2}}],
)
def test_a_key_is_refused_for_other_content(web: Web, other: dict) -> None:
    headers = {"Idempotency-Key": "night-7"}
    web.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers)
    refused = web.post("/v1/jobs", json=other, headers=headers)
    assert (refused.status_code, refused.json["code"]) == (422, "idempotency_key_reused")
    assert not web.services.redis.keys("pm:stage:*")


def test_a_key_whose_job_was_deleted_says_so(web: Web) -> None:
    headers = {"Idempotency-Key": "night-7"}
    job = web.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers).json["id"]
    web.call("DELETE", f"/v1/jobs/{job}")
    again = web.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers)
    assert (again.status_code, again.json["code"]) == (409, "job_deleted")


def test_keys_of_tenants_do_not_meet(web: Web) -> None:
    other = web.services.api_keys.create_key("other")
    headers = {"Idempotency-Key": "same"}
    first = web.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers).json["id"]
    assert (
        web.post("/v1/jobs", key=other, json={"prompts": ["b"]}, headers=headers).json["id"]
        != first
    )


def test_a_key_sent_again_after_the_models_settings_changed_is_answered_as_before(web: Web) -> None:
    web.services.fleet.publish(card("chosen", defaults={"temperature": 0.7}), b"")
    headers = {"Idempotency-Key": "again"}
    first = web.post("/v1/jobs", json={"model": "chosen", "prompts": ["a"]}, headers=headers).json
    web.services.fleet.publish(card("chosen", defaults={"temperature": 0.1}), b"")
    web.services.models._read.clear()
    again = web.post("/v1/jobs", json={"model": "chosen", "prompts": ["a"]}, headers=headers)
    assert again.json["id"] == first["id"] and again.json["params"] == {"temperature": 0.7}


def test_defaults_and_fitted_values_are_no_part_of_what_was_sent(web: Web) -> None:
    """The model now has another default, and so short a context that max_tokens has to fit."""
    web.services.fleet.publish(card("chosen", defaults={"temperature": 0.7}), b"")
    headers, job = {"Idempotency-Key": "again"}, {"model": "chosen", "prompts": ["one two three"]}
    first = web.post("/v1/jobs", json=job, headers=headers).json
    for context in (10, 2):  # the second is too short for the prompt: it would be refused today
        web.services.fleet.publish(card("chosen", context=context), b"")
        web.services.models._read.clear()
        again = web.post("/v1/jobs", json=job, headers=headers)
        assert (again.status_code, again.json["id"]) == (202, first["id"]), again.text
        refused = web.post("/v1/jobs", json=job | {"prompts": ["x"]}, headers=headers)
        assert refused.json["code"] == "idempotency_key_reused"


JSON_JOB = {
    "model": "small",
    "params": {"top_p": 0.5, "stop": ["."]},
    "metadata": {"a": "b"},
    "priority": 2,
    "items": [
        {"prompt": "one two", "custom_id": "x", "params": {"temperature": 1}},
        {"messages": [{"role": "user", "content": "hé"}]},
        {"prompt_ids": [0, 1], "metadata": {"k": 1}},
    ],
}
TABLE = b"prompt,custom_id,temperature\r\nhello,a,0.5\r\nworld,b,\r\n"
# Fingerprints as the store's schema 3 had them, taken by that version.
EARLIER = {
    "json": "b5beede5a5e8d51732281c4dc522a36a8164aec69ac9ac03cc2dac9f8ff3305e",
    "upload": "8fba00f751d4ffece06e4cb76af94d0f3ff0325868fa28d3792bd51405a8ea8f",
}


def send(web: Web, kind: str) -> Answer:
    headers = {"Idempotency-Key": kind}
    if kind == "json":
        return web.post("/v1/jobs", json=JSON_JOB, headers=headers)
    params = {"max_tokens": 5}
    return web.upload("t.csv", TABLE, headers=headers, model="small", params=params)


@pytest.mark.parametrize("kind", ["json", "upload"])
def test_keys_of_the_previous_version_stay_valid_and_it_knows_those_of_today(
    web: Web, kind: str
) -> None:
    template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    model = card("small", context=40, chat_template=template, defaults={"temperature": 0.7})
    web.services.fleet.publish(model, b"")
    first = send(web, kind).json["id"]
    record = f"pm:idem:acme:{kind}"
    earlier, job_id, *_ = web.services.redis.get(record).decode().split()
    assert (earlier, job_id) == (EARLIER[kind], first), "which is all that the previous one reads"
    web.services.redis.set(record, f"{earlier} {first}", ex=100)
    again = send(web, kind)
    assert (again.status_code, again.json["id"]) == (202, first)
    web.services.redis.set(record, f"another {first}", ex=100)
    assert send(web, kind).json["code"] == "idempotency_key_reused"


def test_a_key_of_the_previous_version_stays_valid_for_an_append(web: Web) -> None:
    job_id, headers = web.submit("a"), {"Idempotency-Key": "more"}
    more = {"prompts": ["b", "c " * 60]}  # max_tokens has to fit
    web.post(f"/v1/jobs/{job_id}/items", json=more, headers=headers)
    digest = hashlib.sha256(json.dumps({"append": job_id}, sort_keys=True).encode())
    for item in web.services.store.items(job_id, 1, 2):
        digest.update(json.dumps(item, sort_keys=True).encode())
    earlier = digest.hexdigest()
    stored = web.services.redis.get("pm:idem:acme:more").decode().split()
    assert (stored[0], stored[1], stored[-2:]) == (earlier, job_id, ["1", "2"])
    web.services.redis.set("pm:idem:acme:more", f"{earlier} {job_id} 1 2", ex=100)
    again = web.post(f"/v1/jobs/{job_id}/items", json=more, headers=headers).json
    assert again["added"] == {"first": 1, "count": 2}
    assert again["counts"]["total"] == 3
