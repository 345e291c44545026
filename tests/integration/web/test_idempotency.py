"""A job that is sent again under its key is one job."""

from __future__ import annotations

import pytest

from tests.support.cards import card
from tests.support.web import Web


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
