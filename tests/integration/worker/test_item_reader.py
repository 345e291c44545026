"""A worker makes requests of items: what it renders, refuses and caches."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from bench.lib.jobs import job_fields
from common.errors import InvalidRequest
from common.generation import Request
from common.store.jobs import JobStore, new_job_id
from common.stored_item import StoredItem
from common.tokenizer import WordTokenizer
from tests.support.store import Mill, card
from worker import item_reader
from worker.item_reader import ItemReader


def test_a_worker_renders_what_the_web_tier_counted(redis_url: str) -> None:
    """With the job's variables, the item's own over them, and the time that the web tier told the
    template."""
    mill = Mill(redis_url)
    source = (
        "{{ messages[0].content }} {{ a }} {{ b }} {{ strftime_now('%Y-%m-%d') }}{{ 1 / zero "
        "if zero is defined }}"
    )
    model = card().model_copy(update={"chat_template": source})
    chat: StoredItem = {"messages": [{"role": "user", "content": "hi"}]}
    stage = mill.store.stage()
    items: list[StoredItem] = [
        chat,
        {**chat, "chat_template_kwargs": {"b": 3}},
        {**chat, "chat_template_kwargs": {"zero": 0}},
    ]
    for item in items:
        stage.add(item)
    stage.close()
    spec = {
        "params": {},
        "chat_template_kwargs": {"a": 1, "b": 2},
        "rendered_at": 1_764_100_000,
    }
    fields = job_fields("m", "d", 3, spec)
    mill.store.attach(stage, fields, job_id=new_job_id())
    (run,) = mill.worker().exchange([], 8).runs
    first, second, broken = (
        request for _, request in ItemReader(mill.store, WordTokenizer(), model).read(run, 0)
    )
    assert isinstance(first, Request) and first.prompt == "hi 1 2 2025-11-25"
    assert isinstance(second, Request) and second.prompt == "hi 1 3 2025-11-25"
    assert isinstance(broken, InvalidRequest) and "ZeroDivisionError" in broken.message


def test_items_made_for_other_weights_are_refused_and_not_run_on_these(redis_url: str) -> None:
    mill = Mill(redis_url)
    mill.submit(2)
    (run,) = mill.worker().exchange([], 8).runs
    same = ItemReader(mill.store, WordTokenizer(), card())
    other = ItemReader(mill.store, WordTokenizer(), card().model_copy(update={"digest": "other"}))
    assert not any(isinstance(request, InvalidRequest) for _, request in same.read(run, 0))
    assert [request.code for _, request in other.read(run, 0)] == ["model_replaced"] * 2  # type: ignore[union-attr]


def test_a_job_is_read_once_whatever_it_carries_for_its_owner(redis_url: str) -> None:
    """Its metadata was read and kept with each chunk: a worker grew by 15 MB for every 64 items of
    such a job."""
    mill = Mill(redis_url)
    spec = {"model": "m", "params": {}, "metadata": {"a": "x" * 4_000_000}, "webhook": None}
    job_id = mill.submit(64 * 40, spec=json.dumps(spec))
    runs = mill.worker(slots=64 * 40).exchange([], 64 * 40).runs
    reader = ItemReader(mill.store, WordTokenizer(), card())
    before = mill.client.info("stats")["total_net_output_bytes"]
    tracemalloc.start()
    for run in runs:
        assert all(isinstance(request, Request) for _, request in reader.read(run, 0))
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(runs) == 40
    assert {run.job_id for run in runs} == {job_id}
    assert mill.client.info("stats")["total_net_output_bytes"] - before < 2 * 4_000_000
    assert grown < 8_000_000


def test_chunks_are_kept_up_to_so_many_bytes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_reader, "CACHED_BYTES", 10_000)
    mill = Mill(redis_url)
    stage = mill.store.stage()
    for i in range(64 * 4):
        stage.add({"prompt": f"{i} " * 20})
    stage.close()
    fields = job_fields("m", "d", 256, {"params": {}})
    mill.store.attach(stage, fields, job_id=new_job_id())
    reads, chunk = [], JobStore.chunk

    def read(*arguments: Any) -> Any:
        reads.append(arguments[2])
        return chunk(*arguments)

    monkeypatch.setattr(JobStore, "chunk", read)
    reader, runs = (
        ItemReader(mill.store, WordTokenizer(), card()),
        mill.worker(slots=256).exchange([], 256).runs,
    )
    for run in (*runs, runs[-1], runs[0]):
        reader.read(run, 0)
    assert reads == [0, 64, 128, 192, 0], "the last one is kept, the first is not"
