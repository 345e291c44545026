"""A worker process with engine vllm on a real server: a job of many kinds of items, paused in the
middle and gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.lib.jobs import job_fields
from common.result_row import Row
from common.store.fleet import Fleet
from common.store.jobs import new_job_id
from common.stored_item import StoredItem
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from tests.unit.engine.guided import SCHEMA

pytestmark = pytest.mark.timeout(500)  # vLLM takes its time to start

LONG = {"max_tokens": 480, "ignore_eos": True}
SAMPLED = {"temperature": 1.0, "seed": 5, **LONG}
ITEMS: dict[str, StoredItem] = {
    "greedy": {"prompt": "once upon", "params": {"temperature": 0.0, **LONG}},
    "sampled": {"prompt": "once upon", "params": SAMPLED},
    "streamed": {"prompt": "once upon", "params": SAMPLED, "stream": True},
    "schema": {"prompt": "a person:", "params": {"output": SCHEMA, "max_tokens": 120}},
    "two": {"prompt": "hello", "params": {"n": 2, "max_tokens": 5, "logprobs": 1}},
    "too long": {"prompt": "hello", "params": {"max_tokens": 1000}},
}


@pytest.fixture
def workers(redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(redis_url, tmp_path)
    yield started
    started.stop_all()


def submitted(queue: Queue, name: str) -> str:
    stage = queue.store.stage()
    for item in ITEMS.values():
        stage.add(item)
    stage.close()
    digest = Fleet(queue.store.client).model(name).digest
    fields = job_fields(name, digest, len(ITEMS), {"params": {"temperature": 1.0}}, cost=900)
    return queue.store.attach(stage, fields, job_id=new_job_id()).job_id


def rows(queue: Queue, job_id: str) -> dict[str, Row]:
    queue.wait_status(job_id, "completed", 120)
    return dict(zip(ITEMS, queue.store.rows(job_id, 0, len(ITEMS)), strict=True))


def streamed(queue: Queue, job_id: str) -> str:
    """The text of the one item that is streamed, so far."""
    parts = [part for _, entry in queue.store.said(job_id) for part in json.loads(entry)]
    tokens = {at + n: token for _, at, tokens in parts for n, token in enumerate(tokens)}
    assert sorted(tokens) == list(range(len(tokens)))
    return "".join(text for text, *_ in (tokens[at] for at in sorted(tokens)))  # with their ids


def test_a_job_runs_on_vllm_and_says_how_its_rows_went_on(
    workers: Workers, redis_url: str, tiny_model: Path
) -> None:
    queue = Queue(redis_url)
    settings: dict[str, Any] = {"engine": "vllm", "dtype": "float32", "slots": 4}
    process = workers.start(wait=False, model=tiny_model, **settings)
    client = queue.store.client
    wait_until(lambda: client.zcard("pm:workers") > 0, lambda: workers.log(process), 300)
    straight = rows(queue, submitted(queue, tiny_model.name))
    assert {name: row["status"] for name, row in straight.items()} == {
        name: "failed" if name == "too long" else "succeeded" for name in ITEMS
    }
    error = straight["too long"]["error"]
    assert error and error["code"] == "context_length_exceeded"
    assert straight["schema"]["outputs"][0]["json_valid"]
    assert len(straight["two"]["outputs"]) == 2

    job_id = submitted(queue, tiny_model.name)
    wait_until(lambda: len(queue.store.said(job_id)) > 1, lambda: workers.log(process), 60)
    queue.store.edit(job_id, "paused", 1)
    wait_until(lambda: queue.count(job_id, "running") == 0, lambda: workers.log(process), 60)
    assert queue.count(job_id, "pending") >= 3, "choose longer texts"
    told = streamed(queue, job_id)
    queue.store.edit(job_id, "paused", 0)
    resumed = rows(queue, job_id)
    assert resumed["greedy"]["outputs"] == straight["greedy"]["outputs"]
    assert resumed["sampled"]["outputs"] == straight["sampled"]["outputs"]
    said = {name: resumed[name].get("resumed_on") for name in ("greedy", "sampled", "streamed")}
    assert said == {"greedy": None, "sampled": "from_start", "streamed": "other_draws"}
    text = resumed["streamed"]["outputs"][0]["text"]
    assert told and text.startswith(told), "what was streamed stands"
    assert text != straight["streamed"]["outputs"][0]["text"]
    process.terminate()
    assert process.wait(30) == 0, workers.log(process)
