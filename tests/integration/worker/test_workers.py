"""Real workers: jobs end, killed workers lose no item, drained items are not charged."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from common.store.fleet import Fleet
from tests.support.valkey import OwnServer
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers


def test_a_job_runs_to_its_end(workers: Workers, queue: Queue) -> None:
    workers.start()
    job_id = queue.submit(200)
    queue.wait_status(job_id, "completed")
    assert set(queue.check_all_succeeded_once(job_id)) == {1}


def test_a_job_submitted_before_any_worker_runs_when_one_comes(
    workers: Workers, queue: Queue
) -> None:
    job_id = queue.submit(5)
    workers.start()
    queue.wait_status(job_id, "completed", 10)


def test_a_job_survives_the_kill_of_one_of_its_two_workers_with_every_item_once(
    workers: Workers, queue: Queue
) -> None:
    dead, _ = workers.start(echo_delay=0.03, slots=8), workers.start(echo_delay=0.03, slots=8)
    job_id = queue.submit(150)
    wait_until(lambda: queue.count(job_id, "succeeded") > 10, "nothing ran")
    dead.kill()
    queue.wait_status(job_id, "completed")
    attempts = queue.check_all_succeeded_once(job_id)
    assert attempts.count(2) == 8, "what the dead one held, and only that, is charged"


def test_a_frozen_worker_comes_back_and_its_late_results_are_refused(
    workers: Workers, queue: Queue
) -> None:
    frozen = workers.start(echo_delay=0.05, slots=4, lease=1, heartbeat=0.2)
    workers.start(echo_delay=0.05, slots=4, lease=1, heartbeat=0.2)
    job_id = queue.submit(60)
    wait_until(lambda: queue.count(job_id, "succeeded") > 4, "nothing ran")
    frozen.send_signal(signal.SIGSTOP)
    time.sleep(3)  # past the lease: the other has its items by now
    frozen.send_signal(signal.SIGCONT)
    queue.wait_status(job_id, "completed")
    queue.check_all_succeeded_once(job_id)
    wait_until(lambda: workers.log(frozen).count("serving echo") == 2, "it never registered anew")


def test_late_results_are_refused_even_when_the_server_lost_the_tail_of_its_log(
    own_server: OwnServer, tmp_path: Path
) -> None:
    """The server forgets that the frozen worker ever claimed its items, and gives them out anew."""
    own_server.start()
    workers = Workers(own_server.url, tmp_path)
    try:
        frozen = workers.start(echo_delay=0.05, slots=4, lease=2, heartbeat=0.2)
        queue = Queue(own_server.url)
        job_id = queue.submit(20)
        before = own_server.log.stat().st_size
        wait_until(lambda: queue.count(job_id, "succeeded") > 4, "nothing ran")
        frozen.send_signal(signal.SIGSTOP)
        own_server.kill()
        os.truncate(own_server.log, before)
        own_server.start()
        assert queue.count(job_id, "pending") + queue.count(job_id, "running") == 20, "it forgot"
        frozen.send_signal(signal.SIGCONT)
        workers.start(echo_delay=0.05, slots=4, lease=2, heartbeat=0.2)
        queue.wait_status(job_id, "completed")
        queue.check_all_succeeded_once(job_id)
        assert "refused" in workers.log(frozen) or "lost the lease" in workers.log(frozen)
    finally:
        workers.stop_all()


def test_sigterm_drains_within_the_grace_period_and_charges_no_attempt(
    workers: Workers, queue: Queue
) -> None:
    draining = workers.start(echo_delay=0.2, slots=8, grace=4)
    job_id = queue.submit(20, max_tokens=50)
    wait_until(lambda: queue.count(job_id, "running") == 8, "nothing ran")
    started = time.monotonic()
    draining.send_signal(signal.SIGTERM)
    assert draining.wait(10) == 0
    assert time.monotonic() - started < 4
    assert queue.count(job_id, "running") == 0
    workers.start()
    queue.wait_status(job_id, "completed")
    assert set(queue.check_all_succeeded_once(job_id)) == {1}


def test_cancel_is_in_force_within_a_second_and_keeps_partial_text(
    workers: Workers, queue: Queue
) -> None:
    workers.start(echo_delay=0.2, slots=4)
    job_id = queue.submit(20, max_tokens=1000)
    wait_until(lambda: queue.count(job_id, "running") == 4, "nothing ran")
    time.sleep(0.5)
    queue.store.cancel(job_id)
    queue.wait_status(job_id, "cancelled", 1)
    check_partial(queue, job_id, "cancelled")


def test_a_deadline_is_in_force_within_a_second_and_keeps_partial_text(
    workers: Workers, queue: Queue
) -> None:
    workers.start(echo_delay=0.2, slots=4)
    deadline = queue.store.now() + 2_500
    job_id = queue.submit(20, max_tokens=1000, deadline=deadline)
    wait_until(lambda: queue.count(job_id, "running") == 4, "nothing ran")
    queue.wait_status(job_id, "expired", 4)
    check_partial(queue, job_id, "expired")
    late = (queue.store.job(job_id).finished_at or 0) - deadline
    assert 0 <= late < 1000, f"{late} ms"


def check_partial(queue: Queue, job_id: str, ended: str) -> None:
    """The four that ran have what they had said by then, the others nothing."""
    rows = queue.store.rows(job_id, 0, 20)
    assert [row["status"] for row in rows] == [ended] * 20
    for row in rows[:4]:
        assert row["outputs"][0]["finish_reason"] == ended and row["outputs"][0]["text"].startswith(
            f"a{row['index']}"
        )
    assert [row["outputs"] for row in rows[4:]] == [[]] * 16


def test_a_failing_item_fails_alone(workers: Workers, queue: Queue) -> None:
    workers.start(echo_fail_on="a3 b")
    job_id = queue.submit(6)
    queue.wait_status(job_id, "completed")
    rows = queue.store.rows(job_id, 0, 6)
    assert [row["status"] for row in rows] == ["succeeded"] * 3 + ["failed"] + ["succeeded"] * 2
    assert rows[3]["error"] and rows[3]["error"]["code"] == "engine_error"


def test_a_worker_picks_up_by_itself_when_redis_was_killed_and_is_back(
    own_server: OwnServer, tmp_path: Path
) -> None:
    own_server.start()
    workers = Workers(own_server.url, tmp_path)
    try:
        workers.start(echo_delay=0.02, slots=4)
        queue = Queue(own_server.url)
        job_id = queue.submit(60)
        wait_until(lambda: queue.count(job_id, "succeeded") > 8, "nothing ran")
        own_server.kill()
        time.sleep(2)
        own_server.start()
        queue.wait_status(job_id, "completed")
        assert set(queue.check_all_succeeded_once(job_id)) == {1}, "nobody alive was reaped"
    finally:
        workers.stop_all()


def test_a_worker_started_before_redis_waits_for_it(own_server: OwnServer, tmp_path: Path) -> None:
    workers = Workers(own_server.url, tmp_path)
    try:
        process = workers.start(wait=False)
        wait_until(
            lambda: "waiting for Redis" in workers.log(process), "it did not say what it waits for"
        )
        own_server.start()
        wait_until(lambda: "serving echo" in workers.log(process), "it did not start")
    finally:
        workers.stop_all()


def test_a_paused_job_stops_at_once_and_goes_on_from_where_it_was(
    workers: Workers, queue: Queue
) -> None:
    workers.start(echo_delay=0.1, slots=4, heartbeat=1)
    job_id = queue.submit(4, max_tokens=60)
    wait_until(lambda: queue.count(job_id, "running") == 4, "nothing ran")
    time.sleep(3)
    queue.store.edit(job_id, "paused", 1)
    wait_until(lambda: queue.count(job_id, "pending") == 4, "it ran on", 1.0)
    resumed = time.monotonic()
    queue.ring(queue.store.edit(job_id, "paused", 0))
    wait_until(lambda: queue.count(job_id, "running") == 4, "it did not go on", 1.0)
    queue.wait_status(job_id, "completed")
    assert time.monotonic() - resumed < 5.5, "60 words at 0.1 s: it did not begin anew"
    assert set(queue.check_all_succeeded_once(job_id)) == {1}


def test_an_item_goes_on_from_its_checkpoint_when_its_worker_is_killed(
    workers: Workers, queue: Queue
) -> None:
    dead = workers.start(echo_delay=0.1, slots=2)
    job_id = queue.submit(2, max_tokens=130)
    wait_until(lambda: queue.count(job_id, "running") == 2, "nothing ran")
    wait_until(lambda: list(queue.store.client.scan_iter("pm:checkpoint:*")), "no checkpoint")
    time.sleep(2.5)
    dead.kill()
    alive = workers.start(echo_delay=0.1, slots=2)
    holders = lambda: [(w.pid, w.held) for w in Fleet(queue.store.client).workers()]  # noqa: E731
    wait_until(lambda: holders() == [(alive.pid, 2)], "it was not taken over", 10)
    taken_over = time.monotonic()
    queue.wait_status(job_id, "completed")
    assert time.monotonic() - taken_over < 9, "130 words at 0.1 s: it did not begin anew"
    assert set(queue.check_all_succeeded_once(job_id)) == {1}, (
        "an item that had got further is not charged"
    )
