"""Cancel, deadlines, deletion, retention, leases and rings: everything that is not a result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from common.store import keys
from common.types import ItemState
from tests.support.store import Mill, done, taken


def test_cancel_ends_pending_items_at_once_and_running_ones_when_handed_in(mill: Mill) -> None:
    job_id, worker = mill.submit(10), mill.worker()
    running = worker.exchange([], 4)
    mill.store.cancel(job_id)
    assert mill.counts(job_id) == {"cancelled": 6, "running": 4}
    assert worker.heartbeat() == {job_id: "cancelled"}
    assert worker.exchange([], 8).runs == []
    results = done(running, ItemState.CANCELLED)
    worker.exchange(results, 8)
    assert mill.store.job(job_id).status == "cancelled"
    assert mill.counts(job_id) == {"cancelled": 10}
    assert mill.store.rows(job_id, 0, 1)[0]["outputs"][0]["text"] == "r0", "partial text is kept"


def test_finished_items_survive_a_cancel(mill: Mill) -> None:
    job_id, worker = mill.submit(3), mill.worker()
    worker.exchange(done(worker.exchange([], 2)), 0)
    mill.store.cancel(job_id)
    assert mill.counts(job_id) == {"succeeded": 2, "cancelled": 1}
    assert mill.store.rows(job_id, 0, 1)[0]["outputs"][0]["text"] == "r0"


def test_a_terminal_job_does_not_change(mill: Mill) -> None:
    job_id, worker = mill.submit(1), mill.worker()
    worker.exchange(done(worker.exchange([], 1)), 0)
    assert mill.store.cancel(job_id)[0] == "completed"
    assert mill.store.job(job_id).status == "completed"


def test_items_of_a_cancelled_job_are_not_rerun_when_their_worker_dies(mill: Mill) -> None:
    job_id, worker = mill.submit(3), mill.worker()
    worker.exchange([], 3)
    mill.store.cancel(job_id)
    mill.lose(worker)
    mill.tick()
    assert mill.counts(job_id) == {"cancelled": 3}
    assert mill.store.job(job_id).status == "cancelled"


def test_a_deadline_expires_what_has_not_run(mill: Mill) -> None:
    job_id, worker = mill.submit(5, deadline=mill.store.now() - 1), mill.worker()
    worker.exchange(done(worker.exchange([], 2)), 0)
    mill.tick()
    assert mill.counts(job_id) == {"succeeded": 2, "expired": 3}
    assert mill.store.job(job_id).status == "expired"


def test_a_deadline_is_a_wish_to_whoever_runs_the_rest(mill: Mill) -> None:
    job_id, worker = mill.submit(2, deadline=mill.store.now() - 1), mill.worker()
    running = worker.exchange([], 2)
    mill.tick()
    assert worker.heartbeat() == {job_id: "expired"}
    worker.exchange(done(running, ItemState.EXPIRED), 0)
    assert mill.store.job(job_id).status == "expired"


def test_delete_removes_every_key_and_late_results_do_not_bring_it_back(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    worker = mill.worker()
    before = key_snapshot()
    job_id = mill.submit(4, hooks="job.started", deadline=mill.store.now() + 99999)
    running = worker.exchange([], 2)
    mill.store.delete(job_id)
    assert worker.heartbeat() == {job_id: "gone"}
    assert worker.exchange(done(running), 8).refused == [(job_id, 0), (job_id, 1)]
    left = (
        key_snapshot()
        - before
        - {
            keys.PREFIX + f"replay:{worker.id}",
            "pm:vtime:m",
            "pm:vclock:m",
            "pm:queued",
            "pm:queued:t",
        }
    )
    assert left == set()


def test_a_finished_job_is_purged_when_its_retention_is_over(mill: Mill) -> None:
    job_id, worker = mill.submit(1, retention=0, hooks="job.finished"), mill.worker()
    worker.exchange(done(worker.exchange([], 1)), 0)
    mill.tick()
    assert list(mill.client.scan_iter(f"pm:*{job_id}*")) == []


def test_every_key_of_a_finished_job_is_owned_by_its_purge(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    """Whatever remains after the purge must be in this list of things that outlive jobs, or have a
    TTL."""
    job_id, worker = (
        mill.submit(5, retention=0, hooks="job.started,job.finished", idempotency=("k", "f")),
        mill.worker(),
    )
    answer = worker.exchange([], 2)
    mill.lose(worker)
    mill.tick()
    worker = mill.worker()
    while (answer := worker.exchange(done(answer), 8)).runs:
        pass
    worker.release()
    mill.tick()
    assert job_id not in [row.id for row in mill.store.jobs("t", None, 9)[0]]
    lasting = {name for name in key_snapshot() if mill.client.ttl(name) == -1}
    assert lasting <= {
        "pm:tick", "pm:models", "pm:model:m", "pm:tokenizer:d", "pm:vtime:m", "pm:vclock:m",
        "pm:queued", "pm:queued:t", "pm:finished:bytes", "pm:recount", "pm:metrics",
    }  # fmt: skip
    assert {name: mill.client.hgetall(name) for name in ("pm:queued", "pm:queued:t")} == {
        name: {b"items": b"0", b"tokens": b"0", b"bytes": b"0"}
        for name in ("pm:queued", "pm:queued:t")
    }
    assert mill.client.get("pm:finished:bytes") == b"0"


def test_after_a_gap_everybody_gets_a_fresh_lease_instead_of_being_reaped(mill: Mill) -> None:
    job_id, worker = mill.submit(2), mill.worker()
    worker.exchange([], 2)
    mill.lose(worker)
    mill.client.hset("pm:tick", "at", mill.store.now() - 60_000)
    tick = mill.fleet.tick(5.0, 3)
    assert tick.reaped == []
    assert worker.heartbeat() == {}
    assert mill.counts(job_id) == {"running": 2}


def test_after_an_absence_of_many_leases_a_worker_is_still_known_and_its_lost_reply_kept(
    mill: Mill,
) -> None:
    job_id, worker = mill.submit(4), mill.worker(lease=0.05)
    before = worker.exchange([], 2)
    time.sleep(1.0)
    mill.client.hset("pm:tick", "at", mill.store.now() - 60_000)
    assert mill.fleet.tick(5.0, 3).reaped == []
    again = json.loads(
        mill.store.scripts.exchange(incarnation=worker.id, call=1, room=2, kept=0, shared=0)
    )
    assert [tuple(run[:4]) for run in again["runs"]] == [
        (r.job_id, r.first, r.count, r.attempt) for r in before.runs
    ]
    assert worker.heartbeat() == {}
    assert len(taken(worker.exchange([], 2))) == 2
    assert mill.counts(job_id) == {"running": 4}


@pytest.mark.parametrize(("gap", "lease"), [(3.0, 5.75), (60.0, 7.0), (-30.0, 7.0)])
def test_a_fresh_lease_is_longer_after_a_longer_gap(mill: Mill, gap: float, lease: float) -> None:
    worker = mill.worker()
    mill.client.hset("pm:tick", "at", int(mill.store.now() - 1000 * gap))
    mill.fleet.tick(5.0, 3)
    left = mill.client.zscore("pm:workers", worker.id) - mill.store.now()
    assert left / 1000 == pytest.approx(lease, abs=0.2)


def finished(mill: Mill, retention: int = 60_000, **fields: Any) -> str:
    worker = mill.worker()
    job_id = mill.submit(1, retention=retention, **fields)
    worker.exchange(done(worker.exchange([], 1)), 0)
    worker.release()
    return job_id


def jump(mill: Mill, seconds: float) -> None:
    """Move the server's clock, as the store knows it: all that is due, and the last tick, so much
    the other way."""
    for entry, moment in mill.client.zrange(keys.DUE, 0, -1, withscores=True):
        mill.client.zadd(keys.DUE, {entry: moment - seconds * 1000})
    at = int(mill.client.hget("pm:tick", "at") or mill.store.now())
    mill.client.hset("pm:tick", "at", int(at - seconds * 1000))
    mill.fleet.tick(5.0, 3)


def test_a_jump_of_the_clock_purges_nothing_that_is_finished(mill: Mill) -> None:
    job_id = finished(mill)
    mill.tick()
    jump(mill, 10 * 86_400)
    assert mill.counts(job_id) == {"succeeded": 1}
    mill.fleet.tick(5.0, 3)  # not a second later
    mill.tick()  # nor a second later
    assert mill.counts(job_id) == {"succeeded": 1}
    due = mill.client.zscore(keys.DUE, f"purge:{job_id}") - mill.store.now()
    assert 3_590_000 < due <= 3_600_000, "it has an hour, in which the clock can be set right"
    jump(mill, -10 * 86_400)
    mill.tick()
    assert mill.counts(job_id) == {"succeeded": 1}


def test_after_an_absence_what_is_over_is_purged_when_as_much_time_has_passed_again(
    mill: Mill,
) -> None:
    job_id = finished(mill)
    mill.tick()
    jump(mill, 100)
    due = mill.client.zscore(keys.DUE, f"purge:{job_id}") - mill.store.now()
    assert 90_000 < due <= 101_000
    mill.client.zadd(keys.DUE, {f"purge:{job_id}": 1})
    mill.client.hset("pm:tick", "purge_from", mill.store.now() - 1)
    mill.tick()
    assert not mill.client.exists(keys.job(job_id))


def test_after_an_absence_chats_are_purged_at_once_and_deadlines_have_passed(mill: Mill) -> None:
    chat = finished(mill, interactive=1)
    late = mill.submit(1, deadline=mill.store.now() + 60_000)
    mill.tick()
    jump(mill, 100)
    assert not mill.client.exists(keys.job(chat))
    assert mill.counts(late) == {"expired": 1}


def test_a_jump_back_of_the_clock_reaps_nobody(mill: Mill) -> None:
    worker = mill.worker()
    mill.lose(worker)
    mill.client.hset("pm:tick", "at", mill.store.now() + 30_000)
    tick = mill.fleet.tick(5.0, 3)
    assert tick.reaped == []


def test_only_one_tick_a_second_runs(mill: Mill) -> None:
    assert mill.fleet.tick(5.0, 3).ran
    assert not mill.fleet.tick(5.0, 3).ran


def test_a_worker_that_holds_other_items_than_the_server_counts_starts_over(mill: Mill) -> None:
    job_id, worker = mill.submit(2), mill.worker()
    worker.exchange([], 2)
    mill.client.hdel(keys.held(worker.id), f"{job_id} 1")  # the server lost the tail of its log
    assert worker.heartbeat() is None
    assert worker.exchange([], 2).lost


def test_rings_are_no_more_than_workers_with_room_or_items(mill: Mill) -> None:
    for _ in range(3):
        mill.worker()
    stage_rings = {}
    for items in (1, 2, 50):
        stage = mill.store.stage()
        for _ in range(items):
            stage.add({"prompt": "x"})
        stage.close()
        fields = {
            "tenant": "t",
            "model": "m",
            "total": items,
            "cost": 1,
            "n_max": 1,
            "priority": 0,
            "hooks": "",
            "retention": 1,
            "spec": "{}",
        }
        attached = mill.store.attach(stage, fields, job_id=f"job_{items}")
        stage_rings[items] = attached.rings
        mill.store.delete(f"job_{items}")
    assert stage_rings == {1: 1, 2: 2, 50: 3}


def test_the_tick_rings_for_work_whose_ring_was_lost(mill: Mill) -> None:
    mill.submit(5)
    mill.worker()
    mill.client.hset("pm:tick", "at", mill.store.now() - 1000)
    tick = mill.fleet.tick(5.0, 3)
    assert tick.rings == {"m": 1}


def test_a_full_worker_is_not_rung(mill: Mill) -> None:
    worker = mill.worker(slots=2)
    mill.submit(5)
    assert len(taken(worker.exchange([], 2))) == 2
    mill.tick()
    mill.client.hset("pm:tick", "at", mill.store.now() - 1000)
    tick = mill.fleet.tick(5.0, 3)
    assert tick.rings == {}
