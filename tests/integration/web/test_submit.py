"""What a good job becomes."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any, cast

import pytest

from common.rings import RingSender
from common.settings import Settings
from common.store import keys
from common.store.fleet import Incarnation
from tests.support.cards import card
from tests.support.web import Answer, Web
from web.app import create_app
from web.services.services import EXTENSION


def stored(web: Web, job_id: str) -> list[dict]:
    return web.services.store.items(job_id, 0, 100)


def test_a_job_is_accepted_with_links_and_a_location(web: Web) -> None:
    answer = web.post("/v1/jobs", json={"prompts": ["one two"]})
    assert answer.status_code == 202
    job = answer.json
    assert job["status"] == "queued"
    assert job["counts"] == {"total": 1, "pending": 1} | dict.fromkeys(
        ("running", "succeeded", "failed", "cancelled", "expired"), 0
    )
    assert answer.headers["Location"] == job["links"]["self"]
    assert web.get(job["links"]["self"]).json == job


def test_items_keep_exactly_what_was_given(web: Web) -> None:
    items = [
        {"prompt": "a b"},
        {
            "custom_id": "x",
            "prompt": "c",
            "params": {"stop": "END", "n": 2},
            "metadata": {"k": 1, "z": None},
        },
    ]
    answer = web.post(
        "/v1/jobs", json={"items": items, "params": {"temperature": 0}, "metadata": {"run": "7"}}
    )
    assert stored(web, answer.json["id"]) == [
        # The default does not fit, so what takes effect is told.
        {"prompt": "a b", "params": {"max_tokens": 98}},
        {
            "custom_id": "x",
            "prompt": "c",
            "params": {"stop": ["END"], "n": 2, "max_tokens": 99},
            "metadata": {"k": 1, "z": None},
        },
    ]
    spec = json.loads(web.services.store.job(answer.json["id"])["spec"])
    assert spec.pop("rendered_at") == pytest.approx(time.time(), abs=60)
    assert spec == {
        "model": "echo",
        "params": {"temperature": 0.0},
        "webhook": None,
        "metadata": {"run": "7"},
        "limits": {"tokens": None, "error_rate": None},
    }
    assert answer.json["metadata"] == {"run": "7"}


def test_a_default_that_fits_is_not_written_down(web: Web) -> None:
    web.services.fleet.publish(card("wide", context=8192), b"")
    job = web.submit("a b", model="wide")
    assert stored(web, job) == [{"prompt": "a b"}]


def test_cost_and_slots_of_a_job_come_from_its_items(web: Web) -> None:
    items = [
        {"prompt": "a b c", "params": {"n": 4, "max_tokens": 10}},
        {"prompt": "a", "params": {"max_tokens": 5}},
    ]
    job = web.post("/v1/jobs", json={"items": items}).json["id"]
    fields = web.services.store.job(job)
    # The mean of prompt + n x max_tokens, rounded up.
    assert fields["cost"] == str((3 + 40 + 1 + 5 + 1) // 2)
    assert fields["n_max"] == "4"


def test_messages_are_kept_and_counted_as_the_template_renders_them(web: Web) -> None:
    template = "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}<assistant>"
    web.services.fleet.publish(card("chat", chat_template=template), b"")
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    body = {"model": "chat", "items": [{"messages": messages}]}
    assert web.post("/v1/jobs/check", json=body).json["prompt_tokens"] == 6
    assert stored(web, web.post("/v1/jobs", json=body).json["id"])[0]["messages"] == messages


THINKING = (
    "{% for m in messages %}{{ m.content }} {% endfor %}"
    "{% if enable_thinking is defined and enable_thinking is false %}<no> {% endif %}<assistant>"
)


def test_variables_of_the_chat_template_go_with_the_job_and_its_items(web: Web) -> None:
    web.services.fleet.publish(card("chat", chat_template=THINKING), b"")
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    body: dict[str, Any] = {
        "model": "chat",
        "chat_template_kwargs": {"enable_thinking": False},
        "items": [
            chat,
            chat | {"chat_template_kwargs": {"enable_thinking": True, "unknown": [1, {"a": None}]}},
        ],
    }
    assert web.post("/v1/jobs/check", json=body).json["prompt_tokens"] == 3 + 2
    job = web.post("/v1/jobs", json=body).json
    assert job["chat_template_kwargs"] == {"enable_thinking": False}
    rows = web.get(f"/v1/jobs/{job['id']}/items").json["data"]
    assert [row["chat_template_kwargs"] for row in rows] == [
        None,
        body["items"][1]["chat_template_kwargs"],
    ]
    more = web.post(f"/v1/jobs/{job['id']}/items", json={"items": [chat]})
    assert more.json["counts"]["total"] == 3


def test_a_retry_keeps_the_variables_of_the_chat_template(web: Web) -> None:
    model = card("chat", chat_template=THINKING)
    web.services.fleet.publish(model, b"")
    item = {"messages": [{"role": "user", "content": "hi"}], "chat_template_kwargs": {"a": 1}}
    body = {"model": "chat", "chat_template_kwargs": {"b": 2}, "items": [item]}
    job = web.post("/v1/jobs", json=body).json["id"]
    web.worker(model).run(error="engine_error")
    again = web.post(f"/v1/jobs/{job}/retry")
    assert again.json["chat_template_kwargs"] == {"b": 2}
    assert stored(web, again.json["id"])[0]["chat_template_kwargs"] == {"a": 1}


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
    small.register({"host": "box", "pid": "1", "started_at": "2030-01-01T00:00:00Z"})
    assert web.get(f"/v1/jobs/{job}").json["waiting_for"] == "larger_worker"
    web.worker()
    assert web.get(f"/v1/jobs/{job}").json["waiting_for"] is None


def test_submitting_rings_the_workers_that_have_room(web: Web) -> None:
    web.worker()
    web.submit("a")
    assert web.services.redis.llen("generate.echo") == 1


def test_a_bell_that_is_broken_does_not_undo_a_durable_job(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    web.worker()
    web.app.extensions[EXTENSION] = dataclasses.replace(
        web.services, ring_sender=RingSender("redis://127.0.0.1:9/0")
    )
    job = web.submit("a")
    assert web.get(f"/v1/jobs/{job}").json["status"] == "queued"
    assert "no worker could be rung" in caplog.text


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
    other = web.services.accounts.create_key("other")
    headers = {"Idempotency-Key": "same"}
    first = web.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers).json["id"]
    assert (
        web.post("/v1/jobs", key=other, json={"prompts": ["b"]}, headers=headers).json["id"]
        != first
    )


@pytest.mark.parametrize(
    "deadline",
    [3600, 0.5, "2099-01-31T12:00:00Z", "2099-01-31T12:00:00+02:00", "9999-12-31T23:59:59Z"],
)
def test_a_deadline_is_seconds_or_a_time(web: Web, deadline: object) -> None:
    job = web.submit("a", deadline=deadline)
    assert web.get(f"/v1/jobs/{job}").json["deadline"] is not None
    assert web.services.redis.zscore(keys.DUE, f"expire:{job}")


def test_a_webhook_is_kept_and_its_secret_never_told(web: Web) -> None:
    secret = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
    hook = {
        "url": "https://example.com/hook",
        "events": ["job.started", "job.finished"],
        "secret": secret,
    }
    answer = web.post("/v1/jobs", json={"prompts": ["a"], "webhook": hook})
    assert answer.json["webhook"] == {"url": hook["url"], "events": hook["events"]}
    assert secret not in answer.text
    fields = web.services.store.job(answer.json["id"])
    assert fields["hooks"] == "job.started,job.finished"
    assert json.loads(fields["spec"])["webhook"] == hook


def test_the_attempts_of_each_webhook_event_are_shown(web: Web) -> None:
    job = web.submit("a", webhook={"url": "https://example.com/hook"})
    web.worker().run()
    (event,) = web.get(f"/v1/jobs/{job}").json["webhooks"]
    assert (event["type"], event["status"], event["tries"]) == ("job.finished", "pending", [])


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


def test_redis_away_is_a_503_with_retry_after(web: Web) -> None:
    gone = create_app(Settings.load(redis_url="redis://127.0.0.1:9/0")).test_client()
    for path in ("/v1/jobs", "/readyz"):
        answer = cast(Answer, gone.get(path, headers={"Authorization": f"Bearer {web.key}"}))
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert gone.get("/healthz").status_code == 200


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


def test_a_key_sent_again_after_the_models_settings_changed_is_answered_as_before(web: Web) -> None:
    web.services.fleet.publish(card("chosen", defaults={"temperature": 0.7}), b"")
    headers = {"Idempotency-Key": "again"}
    first = web.post("/v1/jobs", json={"model": "chosen", "prompts": ["a"]}, headers=headers).json
    web.services.fleet.publish(card("chosen", defaults={"temperature": 0.1}), b"")
    web.services.cards._read.clear()
    again = web.post("/v1/jobs", json={"model": "chosen", "prompts": ["a"]}, headers=headers)
    assert again.json["id"] == first["id"] and again.json["params"] == {"temperature": 0.7}
