"""Reading a job back: the job, its items, its results, while it runs and after."""

from __future__ import annotations

import json
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cards import card
from tests.support.web import Web
from web.api.metrics import OF_WORKERS
from web.schemas.items import ItemRow


def lines(web: Web, job: str) -> list[dict]:
    return [json.loads(line) for line in web.get(f"/v1/jobs/{job}/results.jsonl").text.splitlines()]


def test_a_job_counts_what_became_of_its_items(web: Web) -> None:
    job = web.submit("a", "b", "c")
    worker = web.worker()
    worker.run(1)
    worker.run(1, error="engine_error")
    answer = web.get(f"/v1/jobs/{job}")
    assert answer.json["status"] == "running"
    assert answer.json["counts"] == {
        "total": 3,
        "pending": 1,
        "running": 0,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 0,
        "expired": 0,
    }
    assert answer.json["usage"] == {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}
    assert answer.headers["Retry-After"]


def test_a_finished_job_needs_no_more_polling(web: Web) -> None:
    job = web.submit("a")
    web.worker().run()
    answer = web.get(f"/v1/jobs/{job}")
    assert (answer.json["status"], "Retry-After" in answer.headers) == ("completed", False)
    assert answer.json["started_at"] <= answer.json["finished_at"]


def test_a_wait_returns_when_the_job_is_over(web: Web) -> None:
    job = web.submit("a")
    worker = web.worker()
    timer = threading.Timer(0.3, worker.run)
    timer.start()
    began = time.monotonic()
    assert web.get(f"/v1/jobs/{job}?wait=20").json["status"] == "completed"
    assert 0.2 < time.monotonic() - began < 5
    timer.join()


def test_a_wait_returns_the_job_as_it_is_when_time_is_up(web: Web) -> None:
    job = web.submit("a")
    began = time.monotonic()
    assert web.get(f"/v1/jobs/{job}?wait=0.2").json["status"] == "queued"
    assert 0.15 < time.monotonic() - began < 3


def test_jobs_are_listed_newest_first_a_page_at_a_time(web: Web) -> None:
    made = []
    for name in "abcde":
        made.append(web.submit(name))
        time.sleep(0.002)  # the order is by the millisecond
    page = web.get("/v1/jobs?limit=2").json
    seen = [job["id"] for job in page["data"]]
    while page["has_more"]:
        page = web.get(f"/v1/jobs?limit=2&after={page['after']}").json
        seen += [job["id"] for job in page["data"]]
    assert seen == made[::-1]


def test_items_are_paged_with_what_was_asked_and_answered(web: Web) -> None:
    items = [
        {"prompt": f"p {index}", "custom_id": f"c{index}", "metadata": {"i": index}}
        for index in range(5)
    ]
    job = web.post("/v1/jobs", json={"items": items}).json["id"]
    web.worker().run(2)
    page = web.get(f"/v1/jobs/{job}/items?limit=3").json
    rest = web.get(f"/v1/jobs/{job}/items?after={page['after']}").json
    rows = page["data"] + rest["data"]
    assert (page["has_more"], rest["has_more"], rest["after"]) == (True, False, None)
    assert [row["prompt"] for row in rows] == [item["prompt"] for item in items]
    assert [row["metadata"] for row in rows] == [{"i": index} for index in range(5)]
    assert [row["status"] for row in rows] == ["succeeded"] * 2 + ["pending"] * 3
    said = {"text": "said 0", "finish_reason": "stop", "token_count": 2}
    unsaid = ("logprobs", "json_valid", "reasoning", "reasoning_tokens", "choices")
    nothing = dict.fromkeys(unsaid)
    assert rows[0]["outputs"] == [said | nothing]
    for row in rows:
        ItemRow.model_validate(row, strict=False)


def test_a_cancelled_job_stops_and_keeps_what_is_finished(web: Web) -> None:
    job = web.submit(*"abc")
    worker = web.worker()
    worker.run(1)
    running = worker.take(1)
    answer = web.post(f"/v1/jobs/{job}/cancel")
    assert answer.status_code == 202
    assert (answer.json["status"], answer.json["flags"]) == (
        "running",
        {"cancel_requested": True, "paused": False},
    )
    assert answer.json["counts"]["cancelled"] == 1
    worker.finish(running)
    assert web.get(f"/v1/jobs/{job}").json["status"] == "cancelled"
    assert [row["status"] for row in lines(web, job)] == ["succeeded", "succeeded", "cancelled"]


def test_cancelling_what_is_over_changes_nothing(web: Web) -> None:
    job = web.submit("a")
    web.worker().run()
    assert web.post(f"/v1/jobs/{job}/cancel").json["status"] == "completed"


def test_a_deleted_job_is_gone_with_everything(web: Web) -> None:
    job = web.submit("a", webhook={"url": "https://example.com"})
    web.worker().run()
    assert web.call("DELETE", f"/v1/jobs/{job}").status_code == 204
    assert web.get(f"/v1/jobs/{job}").status_code == 404
    assert web.services.redis.keys(f"*{job}*") == []


PATHS = [
    ("GET", ""),
    ("GET", "?wait=1"),
    ("GET", "/items"),
    ("GET", "/results.jsonl"),
    ("GET", "/results.csv"),
    ("GET", "/events"),
    ("POST", "/cancel"),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/retry"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_another_tenants_job_is_not_found(web: Web, method: str, path: str) -> None:
    job = web.submit("a")
    other = web.services.api_keys.create_key("other")
    answer = web.call(method, f"/v1/jobs/{job}{path}", key=other)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert web.get(f"/v1/jobs/{job}").json["flags"] == {"cancel_requested": False, "paused": False}


def test_models_are_listed_as_openai_does_with_their_card(web: Web) -> None:
    web.worker()
    (model,) = web.get("/v1/models").json["data"]
    assert (model["id"], model["object"], model["workers"]) == ("echo", "model", 1)
    assert model["card"]["context"] == 100


def test_a_models_name_may_hold_slashes(web: Web) -> None:
    web.services.fleet.publish(card("org/model-7b"), b"")
    assert web.get("/v1/models/org/model-7b").json["id"] == "org/model-7b"
    assert web.get("/v1/models/org/none").json["error"]["code"] == "model_not_found"


def test_metrics_tell_what_waits_and_who_works(web: Web) -> None:
    web.services.fleet.publish(card('a "b"'), b"")
    web.submit(*"abc", model="echo", params={"max_tokens": 5})
    web.worker().take(1)
    answer = web.get("/metrics")
    assert answer.content_type.startswith("text/plain; version=")
    told = {
        (sample.name.removeprefix("promptmill_"), sample.labels.get("model")): sample.value
        for family in text_string_to_metric_families(answer.text)
        if family.type == "gauge"
        for sample in family.samples
    }
    expected: dict[tuple[str, str | None], float] = {
        ("items_waiting", None): 2,
        ("tokens_waiting", None): 12,
        ("workers", "echo"): 1,
        ("slots", "echo"): 8,
        ("slots_free", "echo"): 0,  # it was asked for one, and took one
        ("items_running", "echo"): 1,
        ("evaluations_waiting", None): 0,
        ("evaluations_running", None): 0,
        **{(name, 'a "b"'): 0 for name in OF_WORKERS},
    }
    assert told == expected
    assert web.get("/metrics", key="nobody").status_code == 401


def test_live_workers_are_listed(web: Web) -> None:
    web.worker()
    (worker,) = web.get("/v1/workers").json["data"]
    assert (worker["model"], worker["slots"], worker["room"], worker["held"]) == ("echo", 8, 8, 0)
