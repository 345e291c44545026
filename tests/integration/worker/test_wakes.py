"""Workers are woken on their own channel, without a ring."""

from __future__ import annotations

import time
from functools import partial

from bench.lib.scripts_per_chat import running_fleet, submit, wait_until_all
from common.store.connection import connect
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
