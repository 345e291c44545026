"""Workers are woken on their own channel, without a ring."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from bench.lib.scripts_per_chat import running_fleet, submit, wait_until_all
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.jobs import JobStore
from tests.support.waiting import wait_until

WORKERS = 6


def test_long_items_submitted_one_by_one_go_to_a_worker_each(redis_url: str) -> None:
    store = JobStore(connect(redis_url))
    with running_fleet(redis_url, WORKERS, slots=8, kept=0) as model_servers:

        def run(taken: int) -> bool:
            return sum(len(each._exchange.held.running()) for each in model_servers) == taken

        for taken in range(1, WORKERS + 1):
            submit(store, 1, 5_000)
            wait_until(partial(run, taken), "an item was not taken")
        assert [len(each._exchange.held.running()) for each in model_servers] == [1] * WORKERS


def test_a_short_item_beside_idle_workers_needs_no_ring_and_no_tick(redis_url: str) -> None:
    store = JobStore(connect(redis_url))
    with running_fleet(redis_url, WORKERS, slots=8, kept=0):
        for _ in range(30):  # most come while a turn ends
            begun = time.monotonic()
            wait_until_all(store, [submit(store, 1, 1)], "succeeded")
            assert time.monotonic() - begun < 0.5
    assert store.client.llen("generate.echo") == 0


def test_a_wake_for_which_no_thread_can_be_started_costs_no_lease(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that has too many."""
    store = JobStore(connect(redis_url))
    start, refused = threading.Thread.start, []

    def no_turn(thread: threading.Thread) -> None:
        if thread.name == "turn":
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with running_fleet(redis_url, 1, slots=8, kept=0) as _:
        monkeypatch.setattr(threading.Thread, "start", no_turn)
        job_id = submit(store, 1, 1)
        wait_until(lambda: refused)
        monkeypatch.setattr(threading.Thread, "start", start)

        def done_by_a_tick() -> int:
            Fleet(store.client).tick(60, 3)
            return store.job(job_id).succeeded

        wait_until(done_by_a_tick, limit=20)
