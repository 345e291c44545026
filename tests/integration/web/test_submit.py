"""What a good job becomes."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, cast

import pytest

from common.rings import RingSender
from common.settings import Settings
from common.store import keys
from common.stored_item import StoredItem
from tests.support.cards import card
from tests.support.web import Answer, Web
from web.app import create_app
from web.services.services import EXTENSION


def stored(web: Web, job_id: str) -> list[StoredItem]:
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
    spec = web.services.store.job(answer.json["id"]).spec
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
    assert fields.cost == (3 + 40 + 1 + 5 + 1) // 2
    assert fields.n_max == 4


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
    assert fields.hooks == ("job.started", "job.finished")
    assert fields.spec["webhook"] == hook


def test_the_attempts_of_each_webhook_event_are_shown(web: Web) -> None:
    job = web.submit("a", webhook={"url": "https://example.com/hook"})
    web.worker().run()
    (event,) = web.get(f"/v1/jobs/{job}").json["webhooks"]
    assert (event["type"], event["status"], event["tries"]) == ("job.finished", "pending", [])


def test_redis_away_is_a_503_with_retry_after(web: Web) -> None:
    gone = create_app(Settings.load(redis_url="redis://127.0.0.1:9/0")).test_client()
    for path in ("/v1/jobs", "/readyz"):
        answer = cast(Answer, gone.get(path, headers={"Authorization": f"Bearer {web.key}"}))
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert gone.get("/healthz").status_code == 200
