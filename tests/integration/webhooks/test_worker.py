"""Webhooks end to end: a real store, a real Celery worker, a real receiver."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis
from standardwebhooks import Webhook

from common.rings import RingSender
from common.store.outbox import StoredEvent
from common.store.tenants import Tenants
from tests.support.receiver import SECRET, Receiver
from tests.support.webhook_worker import WebhookWorker

ATTEMPTS = 5  # the least the settings take


def test_a_finished_job_is_told_of_with_signatures_that_verify(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    receiver = receive()
    worker = start_worker(webhook_allow=receiver.host)
    job_id = make_job(receiver.url)
    run_jobs()
    found = hooks(job_id)
    assert {kind: (hook.status, len(hook.tries)) for kind, hook in found.items()} == {
        "job.started": ("delivered", 1),
        "job.finished": ("delivered", 1),
    }
    assert len(receiver.calls) == 2
    for call in receiver.calls:
        event = Webhook(SECRET).verify(call.body, call.headers)
        assert event["object"] == "event"
        assert event["id"] == call.headers["webhook-id"] == found[event["type"]].id
        assert isinstance(event["created_at"], int)
        assert abs(event["created_at"] - time.time()) < 60
        assert event["data"]["id"] == job_id
    finished = next(call.event for call in receiver.calls if call.event["type"] == "job.finished")
    assert finished["data"]["status"] == "completed"
    assert finished["data"]["counts"]["succeeded"] == 1
    assert worker.stop() == 0


def test_without_a_secret_of_its_own_a_job_is_signed_with_its_tenants(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
    client: redis.Redis,
) -> None:
    receiver = receive()
    start_worker(webhook_allow="127.0.0.1")
    job_id = make_job(receiver.url, secret=None, events="job.finished")
    run_jobs()
    assert hooks(job_id)["job.finished"].status == "delivered"
    Webhook(Tenants(client).webhook_secret("acme")).verify(
        receiver.calls[0].body, receiver.calls[0].headers
    )


def test_a_failing_receiver_is_tried_again_and_every_try_is_shown(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    receiver = receive(500, 503, 200)
    start_worker(webhook_allow=receiver.host)
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    hook = hooks(job_id)["job.finished"]
    assert hook.status == "delivered"
    assert [entry.status_code for entry in hook.tries] == [500, 503, 200]
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert len({call.body for call in receiver.calls}) == 1
    for call in receiver.calls:
        Webhook(SECRET).verify(call.body, call.headers)


def test_a_dead_receiver_is_given_up_after_the_last_try(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    receiver = receive(500)
    start_worker(webhook_allow=receiver.host, webhook_attempts=ATTEMPTS)
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    hook = hooks(job_id)["job.finished"]
    assert hook.status == "failed"
    assert len(hook.tries) == len(receiver.calls) == ATTEMPTS


def test_a_private_target_that_nobody_allowed_is_refused_at_once(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    receiver = receive()
    start_worker()
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    hook = hooks(job_id)["job.finished"]
    assert hook.status == "failed"
    (entry,) = hook.tries
    assert (entry.error or "").startswith("refused: 127.0.0.1 is not at a public address")
    assert f"PROMPTMILL_WEBHOOK_ALLOW={receiver.host}" in (entry.error or "")
    assert receiver.calls == []


def test_a_redirect_counts_as_a_failed_try(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    receiver, elsewhere = receive(307, 200), receive()
    receiver.headers = {"location": elsewhere.url}
    start_worker(webhook_allow="127.0.0.1")
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    tries = hooks(job_id)["job.finished"].tries
    assert [(entry.status_code, bool(entry.error)) for entry in tries] == [
        (307, True),
        (200, False),
    ]
    assert elsewhere.calls == []


def test_a_slow_receiver_does_not_hold_up_the_others(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
) -> None:
    slow, quick = receive(), receive()
    slow.hold.clear()
    start_worker(webhook_allow="127.0.0.1", webhook_timeout=20)
    make_job(slow.url, events="job.finished")
    run_jobs()
    slow.wait_for(1)
    job_id = make_job(quick.url, events="job.finished")
    run_jobs()
    assert hooks(job_id)["job.finished"].status == "delivered"
    assert len(slow.calls) == 1


def test_two_workers_deliver_each_event_once(
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    start_worker: Callable[..., WebhookWorker],
    hooks: Callable[[str], dict[str, StoredEvent]],
    redis_url: str,
) -> None:
    receiver = receive()
    for _ in range(2):
        start_worker(webhook_allow=receiver.host)
    jobs = [make_job(receiver.url, events="job.finished") for _ in range(30)]
    run_jobs()
    ring_sender = RingSender(redis_url)
    for _ in range(8):
        ring_sender.wake_webhooks()
    for job_id in jobs:
        assert hooks(job_id)["job.finished"].status == "delivered"
    assert sorted(call.event["data"]["id"] for call in receiver.calls) == sorted(jobs)
