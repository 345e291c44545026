"""A row that goes on under other kernels than those that began it says so; under the same it does
not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common.rings import RingSender
from common.settings import Settings
from common.store.connection import connect
from common.store.jobs import JobStore
from tests.support.waiting import wait_until
from tests.support.workers import Queue
from worker.heartbeat import Heartbeat
from worker.model_server import ModelServer
from worker.models import open_model


@contextmanager
def serving(redis_url: str, kernels: str, delay: float) -> Iterator[ModelServer]:
    settings = Settings.load(
        redis_url=redis_url, model="echo", lease=60, heartbeat=0.1, interactive_slots=0
    )
    client = connect(redis_url)
    opened = open_model("echo", slots=4, echo_delay=delay)
    opened.card.kernels = kernels
    server = ModelServer(client, settings, opened, RingSender(redis_url))
    server.start()
    server.join()
    heart = Heartbeat(client, [server], settings)
    heart.start()
    try:
        yield server
    finally:
        heart.stop()
        server.stop()


def has_tokens(server: ModelServer) -> bool:
    """Whether one of the items that it runs has some."""
    found = server.engine.checkpoint(server._exchange.held.running())
    return any(map(any, found.values()))


@pytest.mark.parametrize(("second", "said"), [("a", None), ("b", "other_kernels")])
def test_a_row_says_that_other_kernels_began_it(
    redis_url: str, queue: Queue, second: str, said: str | None
) -> None:
    store = JobStore(connect(redis_url))
    with serving(redis_url, "a", delay=0.05) as server:
        job_id = queue.submit(1, max_tokens=60)
        wait_until(lambda: has_tokens(server))
        store.edit(job_id, "paused", 1)
        wait_until(lambda: queue.count(job_id, "pending") == 1)
    with serving(redis_url, second, delay=0.001):
        queue.ring(store.edit(job_id, "paused", 0))
        queue.wait_status(job_id, "completed")
    (row,) = store.rows(job_id, 0, 1)
    assert row["outputs"][0]["token_count"] == 60
    assert row.get("resumed_on") == said
