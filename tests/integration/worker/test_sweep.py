"""A sweep on real workers, and one whose submit is killed with the web process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import redis
import requests

from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.fleet import Fleet
from tests.support.cards import card
from tests.support.waiting import wait_until
from tests.support.web_process import WebProcess
from tests.support.workers import Workers

TEMPERATURES = [0, 0.7, 1.3]


@pytest.fixture
def start_web(redis_url: str) -> Iterator[Callable[[], WebProcess]]:
    started: list[WebProcess] = []
    key = ApiKeys(connect(redis_url)).create_key("acme")

    def start() -> WebProcess:
        started.append(WebProcess(redis_url))
        started[-1].use(key)
        return started[-1]

    yield start
    for web in started:
        web.stop()


def test_a_sweep_of_three_temperatures_runs_and_each_row_has_its_own_text(
    workers: Workers, start_web: Callable[[], WebProcess]
) -> None:
    workers.start()
    web = start_web()
    lines = "".join(json.dumps({"text": f"w{i} of many words here"}) + "\n" for i in range(150))
    template = {"prompt": "say {{text}}"}
    job = {"model": "echo", "template": template, "sweep": {"temperature": TEMPERATURES}}
    job["params"] = {"max_tokens": 6, "seed": 7}
    parts = {"file": ("a.jsonl", lines), "job": (None, json.dumps(job), "application/json")}
    answer = web.post("/v1/sweeps", files=parts)
    assert answer.status_code == 202, answer.text
    path = f"/v1/sweeps/{answer.json()['id']}"
    wait_until(lambda: web.get(path).json()["status"] == "completed")
    jobs = web.get(path).json()["jobs"]
    assert [each["params"] for each in jobs] == [{"temperature": t} for t in TEMPERATURES]
    assert [each["counts"]["succeeded"] for each in jobs] == [150] * 3
    for each in jobs:
        rows = web.get(f"/v1/jobs/{each['id']}/items?limit=1000").json()["data"]
        assert [row["vars"]["text"].split()[0] for row in rows] == [f"w{i}" for i in range(150)]
        assert {row["params"]["temperature"] for row in rows} == {each["params"]["temperature"]}
    greedy = web.get(f"/v1/jobs/{jobs[0]['id']}/items?limit=1").json()["data"][0]
    assert greedy["outputs"][0]["text"].startswith("say w0")


def killed(web: WebProcess) -> None:
    for process in (*web.children(), psutil.Process(web.process.pid)):
        process.kill()


@pytest.mark.parametrize("share", [0.4, 0.8, 0.95])
def test_a_submit_that_is_killed_and_sent_again_makes_the_jobs_once(
    redis_client: redis.Redis, start_web: Callable[[], WebProcess], share: float
) -> None:
    """The web process dies after a share of the time that a submit takes."""
    Fleet(redis_client).publish(card(), b"")
    first, second = start_web(), start_web()
    varied = {"temperature": TEMPERATURES, "max_tokens": [5, 6]}
    items = [{"prompt": f"{i} words of an item", "custom_id": f"c{i}"} for i in range(1000)]
    body: dict[str, Any] = {"model": "echo", "items": items, "sweep": varied}
    began = time.monotonic()
    headers = {"Idempotency-Key": "other"}
    assert second.post("/v1/sweeps", json=body, headers=headers).status_code == 202
    took = time.monotonic() - began
    headers = {"Idempotency-Key": "k"}

    def submit() -> None:
        with suppress(requests.ConnectionError):
            first.post("/v1/sweeps", json=body, headers=headers)

    thread = threading.Thread(target=submit)
    thread.start()
    time.sleep(took * share)
    killed(first)
    thread.join(30)
    left = {each["id"] for each in second.get("/v1/sweeps").json()["data"]}
    jobs = len(list(redis_client.scan_iter("pm:job:*_[0-9]", count=1000)))
    assert jobs == 6 * len(left), "all jobs of a sweep or none"
    answer = second.post("/v1/sweeps", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert [each["counts"]["total"] for each in answer.json()["jobs"]] == [1000] * 6
    now = {each["id"] for each in second.get("/v1/sweeps").json()["data"]}
    assert len(now) == 2
    assert left <= now
    assert redis_client.hget("pm:queued:acme", "items") == b"12000"
