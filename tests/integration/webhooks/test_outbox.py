"""The outbox on a real server: which events are due, and who claims them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

import pytest
import redis

from common.store import keys
from common.store.jobs import JobStore
from common.store.outbox import LONGEST_PAUSE, Event, HookState, Outbox, Outcome, pause
from tests.support.waiting import wait_until

OK = Outcome(0.01, status_code=200)
BROKEN = Outcome(0.01, status_code=500)


@pytest.fixture
def deliveries(client: redis.Redis) -> Outbox:
    return Outbox(client, lease=0.3, attempts=3, backoff=0.05)


@pytest.fixture
def job(make_job: Callable[..., str], run_jobs: Callable[[], None]) -> str:
    """A finished job with one event due."""
    job_id = make_job("http://127.0.0.1:9/", events="job.finished")
    run_jobs()
    return job_id


def claim_again(deliveries: Outbox, limit: float = 3.0) -> Event:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if events := deliveries.due():
            return events[0]
        time.sleep(0.01)
    raise AssertionError("never due again")


def test_an_event_tells_of_its_job(job: str, deliveries: Outbox) -> None:
    (event,) = deliveries.due()
    assert (event.id, event.owner, event.type, event.tries) == (
        f"evt_{job}_job_finished",
        job,
        "job.finished",
        [],
    )
    assert event.data["id"] == job
    assert event.data["status"] == "completed"
    assert event.data["counts"]["succeeded"] == 1
    assert abs(event.created_at - event.claimed_at) < 10_000


def test_only_wanted_events_are_written(
    make_job: Callable[..., str], run_jobs: Callable[[], None], store: JobStore
) -> None:
    wanted, unwanted = make_job("http://x/", events="job.started"), make_job("http://x/", events="")
    run_jobs()
    assert [hook.type for hook in store.hooks(wanted)] == ["job.started"]
    assert store.hooks(unwanted) == []


def test_no_two_deliverers_get_the_same_event(
    make_job: Callable[..., str], run_jobs: Callable[[], None], client: redis.Redis
) -> None:
    for _ in range(20):
        make_job("http://x/")
    run_jobs()
    deliveries = Outbox(client, lease=60, attempts=3, backoff=1, most=100)
    claimed: list[str] = []

    def claim() -> None:
        while events := deliveries.due(3):
            claimed.extend(event.id for event in events)

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(claimed) == len(set(claimed)) == 40


def test_tenants_take_turns(
    make_job: Callable[..., str], run_jobs: Callable[[], None], client: redis.Redis, store: JobStore
) -> None:
    for tenant in ("acme", "acme", "acme", "globex", "initech", "globex"):
        make_job("http://x/", events="job.finished", tenant=tenant)
    run_jobs()
    deliveries = Outbox(client, lease=60, attempts=3, backoff=1)
    served = [deliveries.due()[0].tenant for _ in range(6)]
    assert sorted(served[:3]) == ["acme", "globex", "initech"]
    assert sorted(served[3:]) == ["acme", "acme", "globex"] and served[5] == "acme"
    assert deliveries.due() == []


def test_a_tenant_has_so_many_deliveries_under_way_and_no_more(
    make_job: Callable[..., str], run_jobs: Callable[[], None], client: redis.Redis
) -> None:
    for _ in range(4):
        make_job("http://x/", events="job.finished")
    run_jobs()
    deliveries = Outbox(client, lease=0.3, attempts=3, backoff=60, most=2)
    first, _second = deliveries.due(4)
    assert deliveries.due(4) == []
    assert deliveries.record(first, BROKEN) is HookState.PENDING
    assert len(deliveries.due(4)) == 1
    assert deliveries.due(4) == []
    wait_until(lambda: deliveries.due(4))  # a claim has run out


def test_events_that_an_earlier_version_purged_are_passed_over(
    make_job: Callable[..., str], run_jobs: Callable[[], None], client: redis.Redis, store: JobStore
) -> None:
    """It knows no lines: the event's record is gone, and its name still waits for its tenant's
    turn."""
    kept = [make_job("http://x/", events="job.finished") for _ in range(2)]
    run_jobs()
    deliveries = Outbox(client, lease=60, attempts=3, backoff=1, most=1)
    (held,) = deliveries.due()
    (waiting,) = {f"evt_{job_id}_job_finished" for job_id in kept} - {held.id}
    client.delete(keys.hook(waiting))
    deliveries.record(held, OK)
    assert deliveries.due() == []
    assert not client.exists(keys.hook(waiting))
    for job_id in kept:
        store.delete(job_id)
    assert client.keys("pm:hook*") == []


def test_a_claim_whose_holder_died_ends_with_its_lease(job: str, deliveries: Outbox) -> None:
    (event,) = deliveries.due()
    assert deliveries.due() == []
    assert claim_again(deliveries).id == event.id


def test_a_lost_claim_cannot_record(job: str, deliveries: Outbox, store: JobStore) -> None:
    (late,) = deliveries.due()
    current = claim_again(deliveries)
    assert deliveries.record(late, BROKEN) is None
    assert store.hooks(job)[0].tries == ()
    assert deliveries.record(current, OK) is HookState.DELIVERED
    assert deliveries.record(current, BROKEN) is None  # nor twice
    assert [entry.status_code for entry in store.hooks(job)[0].tries] == [200]


def test_a_delivered_event_is_never_due_again(
    job: str, deliveries: Outbox, store: JobStore, client: redis.Redis
) -> None:
    (event,) = deliveries.due()
    assert deliveries.record(event, OK) is HookState.DELIVERED
    assert client.zcard(keys.HOOKS_DUE) == 0
    (hook,) = store.hooks(job)
    assert hook.status == "delivered"
    (entry,) = hook.tries
    assert asdict(entry) == {
        "at": event.claimed_at,
        "duration_ms": 10,
        "status_code": 200,
        "error": None,
        "next_at": None,
    }


def test_a_failed_try_comes_back_after_its_pause_until_the_tries_are_used_up(
    job: str, deliveries: Outbox, store: JobStore, client: redis.Redis
) -> None:
    states = []
    for _ in range(3):
        event = claim_again(deliveries)
        states.append(deliveries.record(event, BROKEN))
    assert states == [HookState.PENDING, HookState.PENDING, HookState.FAILED]
    tries = store.hooks(job)[0].tries
    assert [entry.next_at is None for entry in tries] == [False, False, True]
    assert all(later.at >= (earlier.next_at or 0) for earlier, later in itertools.pairwise(tries))
    assert client.zcard(keys.HOOKS_DUE) == 0


def test_a_hopeless_try_is_the_last(job: str, deliveries: Outbox, store: JobStore) -> None:
    (event,) = deliveries.due()
    assert (
        deliveries.record(event, Outcome(0, error="refused: no", hopeless=True)) is HookState.FAILED
    )
    assert store.hooks(job)[0].status == "failed"


def test_a_postponed_event_is_due_again_untried(
    job: str, deliveries: Outbox, store: JobStore
) -> None:
    (event,) = deliveries.due()
    deliveries.postpone(event, 0.2)
    assert deliveries.due() == []
    assert store.hooks(job)[0].tries == ()
    again = claim_again(deliveries)
    assert (again.id, again.tries) == (event.id, [])
    assert again.claimed_at >= event.claimed_at + 200


def test_the_event_of_a_deleted_job_is_gone(
    job: str, deliveries: Outbox, store: JobStore, client: redis.Redis
) -> None:
    (event,) = deliveries.due()
    store.delete(job)
    assert deliveries.record(event, BROKEN) is None
    assert client.keys("pm:hook*") == []


def test_recording_tells_whoever_watches_the_job(
    job: str, deliveries: Outbox, client: redis.Redis
) -> None:
    with client.pubsub() as watcher:
        watcher.subscribe(keys.CHANGES)
        assert watcher.get_message(timeout=5)["type"] == "subscribe"
        deliveries.record(deliveries.due()[0], OK)
        assert watcher.get_message(timeout=5)["data"].decode() == job


def test_pauses_triple_up_to_an_hour_give_or_take_a_tenth() -> None:
    for number, expected in [(1, 5), (2, 15), (3, 45), (7, LONGEST_PAUSE), (20, LONGEST_PAUSE)]:
        assert 0.9 * expected <= pause(number, 5.0) <= 1.1 * expected
    assert len({pause(1, 5.0) for _ in range(10)}) > 1
