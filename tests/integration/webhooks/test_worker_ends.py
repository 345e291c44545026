"""A webhook worker that is killed, told to stop, or loses its broker: no event is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import redis

from bench.lib.proxy import SCRIPT, Network
from common.rings import WEBHOOK_QUEUE, RingSender
from common.store.jobs import JobStore
from common.store.outbox import StoredEvent
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until
from tests.support.webhook_worker import WebhookWorker

# Seconds; Celery has found its connection dead by then and waits before it tries another.
HOLE = 12.0
# Seconds after a black hole: Redis is waited for 2 s, then a tick comes; Celery alone takes 7 to
# 30.
SOON = 6.0


def test_an_event_whose_worker_was_killed_is_delivered_by_another(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    receiver = receive()
    receiver.hold.clear()
    first = start_worker(webhook_allow=receiver.host, webhook_timeout=1)
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    receiver.wait_for(1)
    first.kill()
    receiver.hold.set()
    start_worker(webhook_allow=receiver.host, webhook_timeout=1)
    hook = hooks(job_id)["job.finished"]
    assert hook.status == "delivered"
    assert len(receiver.calls) == 2
    assert receiver.calls[0].headers["webhook-id"] == receiver.calls[1].headers["webhook-id"]


def test_an_order_to_stop_lets_the_delivery_under_way_end(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    store: JobStore,
) -> None:
    receiver = receive()
    receiver.hold.clear()
    worker = start_worker(webhook_allow=receiver.host, webhook_timeout=2)
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    receiver.wait_for(1)
    assert worker.stop() == 0
    (hook,) = store.hooks(job_id)
    assert [entry.error for entry in hook.tries] == ["no answer within 2 s"]


def test_a_worker_that_hears_no_ring_delivers_all_the_same(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    receiver = receive(500, 200)
    worker = start_worker(webhook_allow=receiver.host, queue="nobody-rings-here")
    job_id = make_job(receiver.url)
    run_jobs()
    assert {hook.status for hook in hooks(job_id).values()} == {"delivered"}
    assert len(receiver.calls) == 3
    assert worker.stop() == 0


def test_a_turn_without_a_ring_ends_its_delivery_before_the_worker_stops(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    store: JobStore,
) -> None:
    receiver = receive()
    receiver.hold.clear()
    worker = start_worker(webhook_allow=receiver.host, webhook_timeout=2, queue="nobody-rings-here")
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    receiver.wait_for(1)
    assert worker.stop() == 0
    (hook,) = store.hooks(job_id)
    assert [entry.error for entry in hook.tries] == ["no answer within 2 s"]


def test_after_a_black_hole_events_are_delivered_before_celery_is_back(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
    redis_url: str,
    client: redis.Redis,
) -> None:
    receiver, network, url = receive(), Network(), urlsplit(redis_url)
    network.start()
    proxy = network.proxy(url.port or 0, SCRIPT)
    try:
        worker = start_worker(
            f"redis://:{url.password}@127.0.0.1:{proxy.port}{url.path}", webhook_allow=receiver.host
        )
        before = make_job(receiver.url, events="job.finished")
        run_jobs()
        assert hooks(before)["job.finished"].status == "delivered"
        RingSender(redis_url).wake_webhooks()
        # Celery is up too, and waits on a connection that dies.
        wait_until(lambda: client.llen(WEBHOOK_QUEUE) == 0)
        proxy.hold()
        job_id = make_job(receiver.url, events="job.finished")
        run_jobs()
        time.sleep(HOLE)
        proxy.resume()
        back = time.monotonic()
        receiver.wait_for(2, SOON)
        print(f"{time.monotonic() - back:.1f} s")
        assert hooks(job_id)["job.finished"].status == "delivered"
        assert worker.stop() == 0
    finally:
        network.stop()
