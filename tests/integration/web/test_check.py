"""A check counts exactly, lists every fault, estimates and writes nothing."""

from __future__ import annotations

import pytest

from common.store import keys
from tests.support.web import Web


def test_a_check_counts_exactly_and_writes_nothing(web: Web) -> None:
    body = {"prompts": ["one two three", "four"], "params": {"max_tokens": 10, "n": 2}}
    answer = web.post("/v1/jobs/check", json=body)
    assert answer.status_code == 200
    assert answer.json == {
        "valid": True, "model": "echo", "items": 2, "prompt_tokens": 4, "max_prompt_tokens": 3,
        "max_completion_tokens": 40, "seconds": None, "errors": [],
    }  # fmt: skip
    assert web.job_keys() == []


def test_a_check_lists_what_a_submit_would_refuse(web: Web) -> None:
    body = {"items": [{"prompt": "a"}, {"prompt": ""}, {"prompt": "b", "params": {"top_p": 2}}]}
    checked = web.post("/v1/jobs/check", json=body).json
    refused = web.post("/v1/jobs", json=body).json
    assert not checked["valid"]
    assert [entry["field"] for entry in checked["errors"]] == [
        "items.1.prompt",
        "items.2.params.top_p",
    ]
    assert [entry["message"] for entry in checked["errors"]] == [
        entry["message"] for entry in refused["errors"]
    ]


def test_a_check_estimates_from_how_fast_the_last_jobs_went(web: Web) -> None:
    job = web.submit("a", params={"max_tokens": 10})
    web.worker().run()
    # It took four seconds for its two tokens.
    web.services.redis.hincrby(keys.job(job), "started_at", -4000)
    seconds = web.post(
        "/v1/jobs/check", json={"prompts": ["a"] * 10, "params": {"max_tokens": 10}}
    ).json["seconds"]
    assert seconds["low"] < seconds["high"]
    assert seconds["high"] == pytest.approx(200, rel=0.05)
