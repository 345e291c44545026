"""The courier on a real outbox, without a worker process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
import redis

from common.settings import Settings
from common.store import keys
from common.store.jobs import JobStore
from common.store.outbox import MOST_AT_ONCE, Event, StoredEvent
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until
from worker import host_limiter, webhooks
from worker.host_limiter import MOST_PER_HOST, HostLimiter
from worker.receivers import ReceiverUnreachable
from worker.webhooks import Courier


@pytest.fixture
def courier(redis_url: str) -> Courier:
    return Courier(
        Settings(
            redis_url=redis_url,
            webhook_allow="127.0.0.1",
            webhook_attempts=5,
            webhook_backoff=0.001,
        )
    )


def deliver_until_ended(courier: Courier, store: JobStore, job_id: str) -> StoredEvent:
    for _ in range(1000):
        courier.deliver_due()
        (hook,) = store.hooks(job_id)
        if hook.status != "pending":
            return hook
    raise AssertionError("the event never ends")


def test_the_limiter_lets_some_through_until_one_gets_no_answer() -> None:
    limiter, host, other = HostLimiter(), ("acme", "a"), ("acme", "b")
    assert [limiter.enter(host) for _ in range(MOST_PER_HOST)] == [0.0] * MOST_PER_HOST
    assert limiter.enter(host), "as many are under way as may"
    assert not limiter.enter(other) and not limiter.enter(("globex", "a")), (
        "another's calls are another matter"
    )
    limiter.leave(host, answered=False, seconds=0)
    assert limiter.enter(host), "others are still under way"
    for _ in range(MOST_PER_HOST - 1):
        limiter.leave(host, answered=False, seconds=0)
    assert not limiter.enter(host), "the one call that finds out"
    assert limiter.enter(host)
    limiter.leave(host, answered=True, seconds=0)
    assert not limiter.enter(host) and not limiter.enter(host)


def test_a_host_that_kept_us_waiting_is_left_alone_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("worker.host_limiter.time.monotonic", lambda: now)
    limiter, host, pauses = HostLimiter(), ("acme", "a"), []
    for _ in range(6):
        assert not limiter.enter(host)
        limiter.leave(host, answered=False, seconds=5)
        pauses.append(round(limiter._silent[host].until - now))
        assert limiter.enter(host) >= pauses[-1]
        now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 40, 40]
    assert not limiter.enter(host)
    limiter.leave(host, answered=True, seconds=5)
    assert not limiter.enter(host), "it answers again"


def test_a_tenant_with_silent_receivers_delays_nobody_else(
    courier: Courier,
    store: JobStore,
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many deliverers as a worker has, and more events of one tenant to dead ports than they
    could take."""
    silent, begun, delivered = threading.Event(), [], threading.Event()

    def call(url: str, *_args: object, **_options: object) -> int:
        begun.append(url)
        if "dead" in url:
            silent.wait(20)
            raise ReceiverUnreachable("no answer")
        delivered.set()
        return 200

    monkeypatch.setattr(webhooks, "post", call)
    for port in range(60):
        make_job(f"http://dead{port % 3}.example:{1000 + port}/", events="job.finished")
    run_jobs()
    couriers = [threading.Thread(target=courier.deliver_due) for _ in range(webhooks.THREADS)]
    for thread in couriers:
        thread.start()
    wait_until(lambda: sum(thread.is_alive() for thread in couriers) == MOST_AT_ONCE)
    make_job("http://alive.example/", events="job.finished", tenant="globex")
    run_jobs()
    courier.deliver_due()
    assert delivered.is_set()
    assert len(begun) == MOST_AT_ONCE + 1
    silent.set()
    for thread in couriers:
        thread.join(10)


def test_a_secret_that_is_none_ends_the_event_with_a_clear_message(
    courier: Courier,
    store: JobStore,
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
) -> None:
    receiver = receive()
    job_id = make_job(receiver.url, secret="hunter2", events="job.finished")
    run_jobs()
    hook = deliver_until_ended(courier, store, job_id)
    assert (hook.status, len(hook.tries), receiver.calls) == ("failed", 1, [])
    assert "whsec_" in (hook.tries[0].error or "")


def test_an_event_of_a_damaged_job_ends_and_holds_up_no_other(
    courier: Courier,
    store: JobStore,
    client: redis.Redis,
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
) -> None:
    receiver = receive()
    damaged = make_job(receiver.url, events="job.finished")
    job_id = make_job(receiver.url, events="job.finished", tenant="globex")
    run_jobs()
    client.hset(keys.job(damaged), "priority", "high")
    assert deliver_until_ended(courier, store, job_id).status == "delivered"
    hook = deliver_until_ended(courier, store, damaged)
    assert (hook.status, len(hook.tries)) == ("failed", 1)
    assert [call.event["data"]["id"] for call in receiver.calls] == [job_id]


def test_a_bug_while_sending_counts_as_a_try(
    courier: Courier,
    store: JobStore,
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_args: object, **_options: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(webhooks, "post", broken)
    job_id = make_job("http://127.0.0.1:9/", events="job.finished")
    run_jobs()
    hook = deliver_until_ended(courier, store, job_id)
    assert hook.status == "failed"
    assert [entry.error for entry in hook.tries] == ["internal error: RuntimeError"] * 5


def test_a_silent_receiver_gets_one_call_at_a_time_until_it_answers(
    courier: Courier,
    store: JobStore,
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[threading.Event] = []

    def silent(*_args: object, **_options: object) -> int:
        calls.append(threading.Event())
        calls[-1].wait(10)
        raise ReceiverUnreachable("no answer")

    monkeypatch.setattr(webhooks, "post", silent)
    monkeypatch.setattr(host_limiter, "PAUSE", 0.3)
    couriers = [threading.Thread(target=courier.deliver_due) for _ in range(3)]
    jobs = [make_job("http://dead.example/", events="job.finished") for _ in range(3)]
    run_jobs()
    for thread in couriers:
        thread.start()
    wait_until(lambda: len(calls) == 3)  # nothing is known of it yet: each thread calls
    calls[0].set()
    wait_until(lambda: sum(len(store.hooks(job_id)[0].tries) for job_id in jobs) == 1)
    time.sleep(0.1)  # the free thread finds the first event due again, and puts it off
    assert len(calls) == 3
    monkeypatch.setattr(webhooks, "post", lambda *_args, **_options: 200)
    for call in calls:
        call.set()

    def delivered(job_id: str) -> bool:
        courier.deliver_due()
        return store.hooks(job_id)[0].status == "delivered"

    for job_id in jobs:
        wait_until(partial(delivered, job_id))
    for thread in couriers:
        thread.join(10)


def test_the_event_of_a_job_deleted_under_the_courier_is_not_sent(
    courier: Courier,
    store: JobStore,
    receive: Callable[..., Receiver],
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver = receive()
    job_id = make_job(receiver.url, events="job.finished")
    run_jobs()
    due = courier._deliveries.due

    def due_but_deleted_meanwhile() -> list[Event]:
        if events := due():
            store.delete(job_id)
        return events

    monkeypatch.setattr(courier._deliveries, "due", due_but_deleted_meanwhile)
    courier.deliver_due()
    assert receiver.calls == []
