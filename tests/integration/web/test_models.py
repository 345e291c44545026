"""Which model a job is for, what is asked of its workers, and what its own settings add."""

from __future__ import annotations

from common.store.incarnation import Incarnation
from tests.support.cards import card
from tests.support.web import Web


def test_a_job_without_a_live_worker_waits_for_one(web: Web) -> None:
    job = web.submit("a")
    assert web.get(f"/v1/jobs/{job}").json["waiting_for"] == "worker"
    web.worker()
    assert web.get(f"/v1/jobs/{job}").json["waiting_for"] is None


def test_an_item_with_more_continuations_than_its_model_has_slots_is_refused(web: Web) -> None:
    answer = web.post("/v1/jobs", json={"items": [{"prompt": "a", "params": {"n": 9}}]})
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert (error["field"], error["code"]) == ("items.0.params.n", "out_of_range")
    assert error["message"] == "n is 9; echo runs at most 8 continuations at once"


def test_a_job_whose_largest_worker_has_gone_waits_for_another_such(web: Web) -> None:
    job = web.post(
        "/v1/jobs", json={"items": [{"prompt": "a", "params": {"n": 8}}, {"prompt": "b"}]}
    ).json["id"]
    web.services.fleet.publish(card(slots=4), b"")
    small = Incarnation(web.services.redis, card(slots=4), lease=30)
    small.register({"host": "box", "pid": "1", "started_at": "1893456000"})
    assert web.get(f"/v1/jobs/{job}").json["waiting_for"] == "larger_worker"
    web.worker()
    assert web.get(f"/v1/jobs/{job}").json["waiting_for"] is None


def test_the_only_model_may_be_left_out(web: Web) -> None:
    assert web.get(f"/v1/jobs/{web.submit('a')}").json["model"] == "echo"


def test_with_several_models_one_must_be_named(web: Web) -> None:
    web.services.fleet.publish(card("other"), b"")
    refused = web.post("/v1/jobs", json={"prompts": ["a"]})
    assert (refused.status_code, refused.json["code"]) == (422, "model_required")
    assert "echo, other" in refused.json["detail"]


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(web: Web) -> None:
    refused = web.post("/v1/jobs", json={"model": "gpt5", "prompts": ["a"]})
    assert (refused.status_code, refused.json["code"]) == (404, "model_not_found")
    assert "echo" in refused.json["detail"]


def test_a_models_own_settings_are_its_jobs_defaults_and_are_told(web: Web) -> None:
    own = {"temperature": 0.7, "top_k": 20, "logit_bias": {"3": -100.0}}
    web.services.fleet.publish(card("chosen", defaults=own), b"")
    items = [{"prompt": "a"}, {"prompt": "b", "params": {"top_k": 5}}]
    job = web.post(
        "/v1/jobs", json={"model": "chosen", "items": items, "params": {"temperature": 0.2}}
    ).json
    assert job["params"] == {"temperature": 0.2, "top_k": 20, "logit_bias": {"3": -100.0}}
    rows = web.get(job["links"]["items"]).json["data"]
    shown = [
        {name: row["params"][name] for name in ("temperature", "top_k", "logit_bias")}
        for row in rows
    ]
    assert shown == [
        {"temperature": 0.2, "top_k": 20, "logit_bias": {"3": -100.0}},
        {"temperature": 0.2, "top_k": 5, "logit_bias": {"3": -100.0}},
    ]
    models = {each["id"]: each["card"] for each in web.get("/v1/models").json["data"]}
    assert models["chosen"]["defaults"] == own
