"""Fixtures of the webhook tests: receivers on loopback, jobs that cause events, a real worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.lib.jobs import job_fields
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.incarnation import Incarnation, Result
from common.store.jobs import JobStore, new_job_id
from common.store.outbox import StoredEvent
from common.store.packing import pack
from common.types import ItemState
from tests.support.receiver import SECRET, Receiver
from tests.support.waiting import wait_until
from tests.support.webhook_worker import CARD, WebhookWorker


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Opens receivers."""
    opened: list[Receiver] = []

    def open_one(*statuses: int) -> Receiver:
        opened.append(Receiver(*statuses))
        return opened[-1]

    yield open_one
    for receiver in opened:
        receiver.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis) -> JobStore:
    return JobStore(client)


@pytest.fixture
def make_job(store: JobStore) -> Callable[..., str]:
    """Submits a job of one item that wants webhooks; answers its id."""

    def make(
        url: str,
        *,
        secret: str | None = SECRET,
        events: str = "job.started,job.finished",
        tenant: str = "acme",
    ) -> str:
        stage = store.stage()
        stage.add({"prompt": "a b c", "params": {}})
        stage.close()
        job_id = new_job_id()
        webhook = {"url": url, "events": events.split(",")} | ({"secret": secret} if secret else {})
        about = {"tenant": tenant, "hooks": events, "retention": 60_000}
        fields = job_fields("echo", "d", 1, {"webhook": webhook}, **about)
        store.attach(stage, fields, job_id=job_id)
        return job_id

    return make


@pytest.fixture
def run_jobs(client: redis.Redis) -> Callable[[], None]:
    """Does what a generation worker does with every item there is."""

    def run() -> None:
        Fleet(client).publish(CARD, b"")
        worker = Incarnation(client, CARD, lease=60)
        worker.register({"host": "here", "pid": "1", "started_at": "0"})
        done: list[Result] = []
        while runs := worker.exchange(done, 8).runs:
            done = [
                Result(
                    run.job_id,
                    run.first + i,
                    run.attempt,
                    ItemState.SUCCEEDED,
                    3,
                    3,
                    pack({"outputs": []}),
                )
                for run in runs
                for i in range(run.count)
            ]
        worker.release()

    return run


@pytest.fixture
def start_worker(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., WebhookWorker]]:
    """Starts webhook workers; settings are named as in common/settings.py. `via` is another way to
    Redis."""
    started: list[WebhookWorker] = []

    def start(via: str = redis_url, **settings: Any) -> WebhookWorker:
        log = tmp_path / f"webhooks-{len(started)}.log"
        started.append(WebhookWorker(via, log, **settings))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def hooks(store: JobStore) -> Callable[[str], dict[str, StoredEvent]]:
    """A job's webhook events by type, once none of them is pending."""

    def ended(job_id: str) -> dict[str, StoredEvent] | None:
        found = store.hooks(job_id)
        return (
            {hook.type: hook for hook in found}
            if found and all(h.status != "pending" for h in found)
            else None
        )

    return lambda job_id: wait_until(lambda: ended(job_id))
