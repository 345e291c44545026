"""Live jobs: pause, resume, append, priority, deadline, limits of their own, and what admission and
lanes do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.errors import Conflict, NotFound, TooMany, Unavailable
from common.store import keys
from common.store.admission import NO_LIMITS, Limits
from common.store.jobs import new_job_id
from common.store.submitted import Appended
from common.types import ItemState
from tests.support.store import Mill, done, taken


def test_a_paused_job_gives_out_nothing_and_a_resumed_one_goes_on(mill: Mill) -> None:
    job_id, worker = mill.submit(4), mill.worker()
    held = worker.exchange([], 2)
    mill.store.edit(job_id, "paused", 1)
    assert worker.heartbeat() == {job_id: "paused"}
    assert worker.exchange(done(held), 8).runs == []
    assert mill.store.job(job_id).status == "running"
    assert mill.store.edit(job_id, "paused", 0) == 1, "the idle worker is to be rung"
    assert len(taken(worker.exchange([], 8))) == 2


def test_a_wish_is_told_to_workers_at_once(mill: Mill) -> None:
    job_id, worker = mill.submit(4), mill.worker()
    worker.exchange([], 2)
    listener = mill.client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(keys.WISHES)
    listener.get_message(timeout=1)
    mill.store.edit(job_id, "paused", 1)
    message = listener.get_message(timeout=1)
    listener.close()
    assert message is not None and message["data"] == job_id.encode()


def test_changing_the_priority_moves_a_job_among_its_tenants(mill: Mill) -> None:
    first, second = mill.submit(1), mill.submit(1)
    mill.store.edit(second, "priority", 5)
    assert mill.worker().exchange([], 1).runs[0].job_id == second
    assert first


def test_a_moved_deadline_is_the_one_that_counts(mill: Mill) -> None:
    job_id = mill.submit(2, deadline=mill.store.now() - 1)
    mill.store.edit(job_id, "deadline", mill.store.now() + 60_000)
    mill.tick()
    assert mill.counts(job_id) == {"pending": 2}
    mill.store.edit(job_id, "deadline", mill.store.now() - 1)
    mill.tick()
    assert mill.counts(job_id) == {"expired": 2}


def append(mill: Mill, job_id: str, items: int, limits: Limits = NO_LIMITS) -> Appended:
    stage = mill.store.stage()
    for i in range(items):
        stage.add({"prompt": f"more {i}"})
    stage.close()
    return mill.store.append(
        job_id, stage, tokens=items * 30, n_max=1, limits=limits, most_items=1000
    )


def test_appended_items_are_part_of_the_job(mill: Mill) -> None:
    job_id, worker = mill.submit(70), mill.worker()
    answer = worker.exchange([], 200)
    append(mill, job_id, 70)
    assert mill.store.items(job_id, 69, 3) == [
        {"prompt": "prompt 69", "custom_id": "c69"},
        {"prompt": "more 0"},
        {"prompt": "more 1"},
    ]
    answer = worker.exchange(done(answer), 200)
    assert [index for _, index, _ in taken(answer)] == list(range(70, 140))
    worker.exchange(done(answer), 0)
    assert mill.store.job(job_id).status == "completed"
    assert mill.counts(job_id) == {"succeeded": 140}
    assert mill.client.hgetall("pm:queued:t") == {b"items": b"0", b"tokens": b"0", b"bytes": b"0"}


def test_a_job_that_is_over_cannot_be_changed(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job_id, worker = mill.submit(1), mill.worker()
    worker.exchange(done(worker.exchange([], 1)), 0)
    before = key_snapshot()
    with pytest.raises(Conflict):
        append(mill, job_id, 1)
    with pytest.raises(Conflict):
        mill.store.edit(job_id, "paused", 1)
    with pytest.raises(NotFound):
        mill.store.edit("job_0nothing", "paused", 1)
    assert key_snapshot() == before


def test_a_job_stops_when_its_token_budget_is_used_up(mill: Mill) -> None:
    job_id, worker = mill.submit(10, token_budget=20), mill.worker()
    held = worker.exchange([], 4)
    worker.exchange(done(held)[:3], 0)  # 8 tokens each
    assert mill.counts(job_id) == {"succeeded": 3, "running": 1, "cancelled": 6}
    assert mill.store.job(job_id).cancel_reason == "token_budget"


def test_a_job_that_fails_too_often_stops(mill: Mill) -> None:
    job_id, worker = mill.submit(100, error_rate=0.5), mill.worker(slots=30)
    worker.exchange(done(worker.exchange([], 19), ItemState.FAILED), 0)
    assert mill.counts(job_id) == {"failed": 19, "pending": 81}, "too few to tell"
    worker.exchange(done(worker.exchange([], 1), ItemState.FAILED), 0)
    assert mill.counts(job_id) == {"failed": 20, "cancelled": 80}
    assert mill.store.job(job_id).cancel_reason == "error_rate"


def attach(mill: Mill, items: int, tenant: str, limits: Limits) -> str:
    stage = mill.store.stage()
    for _ in range(items):
        stage.add({"prompt": "x"})
    stage.close()
    fields = {
        "tenant": tenant,
        "model": "m",
        "digest": "d",
        "total": items,
        "cost": 10.5,
        "n_max": 1,
        "priority": 0,
        "hooks": "",
        "retention": 1,
        "spec": "{}",
    }
    return mill.store.attach(stage, fields, job_id=new_job_id(), limits=limits).outcome


def test_admission_counts_what_waits_by_tenant_and_in_all(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    limits = Limits(tenant_items=10, total_items=15)
    assert attach(mill, 6, "a", limits) == "new"
    before = key_snapshot()
    stored = int(mill.client.hget("pm:queued:a", "bytes"))
    assert stored >= mill.store.job(mill.store.jobs("a", None, 1)[0][0].id).size > 0
    assert attach(mill, 6, "a", limits) == "tenant_full"
    assert attach(mill, 6, "a", Limits(tenant_tokens=100)) == "tenant_full"
    assert attach(mill, 6, "a", Limits(tenant_bytes=2 * stored - 1)) == "tenant_full"
    for most in (
        Limits(tenant_items=10, total_items=15),
        Limits(tenant_items=10, total_tokens=170),
        Limits(tenant_items=10, total_bytes=stored),
    ):
        assert attach(mill, 10, "b", most) == "full"
    assert key_snapshot() == before
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], 8)), 0)
    limits = Limits(
        tenant_items=10,
        tenant_bytes=2 * stored,
        total_items=15,
        total_tokens=110,
        total_bytes=2 * stored,
    )
    assert attach(mill, 10, "b", limits) == "new", "what has run waits no more"


def test_items_appended_meet_the_same_limits(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job_id = mill.submit(6)
    before = key_snapshot()
    for limits, refusal in (
        (Limits(tenant_items=10), TooMany),
        (Limits(total_items=10), Unavailable),
    ):
        with pytest.raises(refusal):
            append(mill, job_id, 5, limits)
    assert key_snapshot() == before
    append(mill, job_id, 4, Limits(tenant_items=10, total_items=10))
    assert mill.counts(job_id) == {"pending": 10}


def test_interactive_jobs_go_first_and_may_use_the_slots_kept_for_them(mill: Mill) -> None:
    batch, worker = mill.submit(10), mill.worker()
    assert len(taken(worker.exchange([], 8, kept=2))) == 6
    assert worker.exchange([], 2, kept=2).runs == []
    chat = mill.submit(1, "other", interactive=1)
    assert [job for job, _, _ in taken(worker.exchange([], 2, kept=2))] == [chat]
    assert batch


def test_finished_jobs_past_the_bytes_to_keep_go_oldest_first(mill: Mill) -> None:
    worker = mill.worker()
    ids = []
    for _ in range(3):
        ids.append(mill.submit(20))
        answer = worker.exchange([], 64)
        worker.exchange(done(answer), 0)
    size = mill.store.job(ids[0]).size
    assert size > 0
    mill.client.hset("pm:tick", "at", mill.store.now() - 1000)
    mill.fleet.tick(5.0, 3, keep_bytes=int(size * 2.5))
    assert [row.id for row in mill.store.jobs("t", None, 9)[0]] == [ids[2], ids[1]]
