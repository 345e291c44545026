"""Real workers: jobs end, deaths lose nothing, drains cost nothing."""

from __future__ import annotations

import signal
import time

from tests.integration.worker.conftest import Queue, Workers, wait_for


def test_a_job_runs_to_its_end(workers, queue):
    workers.start()
    job_id = queue.submit(200)
    queue.wait_status(job_id, "completed")
    assert set(queue.check_all_succeeded_once(job_id)) == {1}


def test_a_job_submitted_before_any_worker_runs_when_one_comes(workers, queue):
    job_id = queue.submit(5)
    workers.start()
    queue.wait_status(job_id, "completed", 10)


def test_a_job_survives_the_kill_of_one_of_its_two_workers_with_every_item_once(workers, queue):
    dead, _ = workers.start(echo_delay=0.03, slots=8), workers.start(echo_delay=0.03, slots=8)
    job_id = queue.submit(150)
    wait_for(lambda: queue.count(job_id, "succeeded") > 10, "nothing ran")
    dead.kill()
    queue.wait_status(job_id, "completed")
    attempts = queue.check_all_succeeded_once(job_id)
    assert attempts.count(2) == 8, "what the dead one held, and only that, ran again"


def test_a_frozen_worker_comes_back_and_its_late_results_are_refused(workers, queue):
    frozen = workers.start(echo_delay=0.05, slots=4, lease=1, heartbeat=0.2)
    workers.start(echo_delay=0.05, slots=4, lease=1, heartbeat=0.2)
    job_id = queue.submit(60)
    wait_for(lambda: queue.count(job_id, "succeeded") > 4, "nothing ran")
    frozen.send_signal(signal.SIGSTOP)
    time.sleep(3)  # past the lease: the other has its items by now
    frozen.send_signal(signal.SIGCONT)
    queue.wait_status(job_id, "completed")
    queue.check_all_succeeded_once(job_id)
    wait_for(lambda: workers.log(frozen).count(b"serving echo") == 2, "it never registered anew")


def test_sigterm_drains_within_the_grace_period_and_charges_no_attempt(workers, queue):
    draining = workers.start(echo_delay=0.2, slots=8, grace=1)
    job_id = queue.submit(20)
    wait_for(lambda: queue.count(job_id, "running") == 8, "nothing ran")
    started = time.monotonic()
    draining.send_signal(signal.SIGTERM)
    assert draining.wait(10) == 0
    assert time.monotonic() - started < 5
    assert queue.count(job_id, "running") == 0
    workers.start()
    queue.wait_status(job_id, "completed")
    assert set(queue.check_all_succeeded_once(job_id)) == {1}


def test_cancel_is_in_force_within_seconds_and_keeps_partial_text(workers, queue):
    workers.start(echo_delay=0.2, slots=4)
    job_id = queue.submit(20, max_tokens=1000)
    wait_for(lambda: queue.count(job_id, "running") == 4, "nothing ran")
    time.sleep(0.5)
    queue.store.cancel(job_id)
    queue.wait_status(job_id, "cancelled", 3)
    row = queue.store.rows(job_id, 0, 1)[0]
    assert row["status"] == "cancelled"
    assert row["outputs"][0]["finish_reason"] == "cancelled" and row["outputs"][0]["text"].startswith("a0")


def test_a_failing_item_fails_alone(workers, queue):
    workers.start(echo_fail_on="a3 b")
    job_id = queue.submit(6)
    queue.wait_status(job_id, "completed")
    rows = queue.store.rows(job_id, 0, 6)
    assert [row["status"] for row in rows] == ["succeeded"] * 3 + ["failed"] + ["succeeded"] * 2
    assert rows[3]["error"]["code"] == "engine_error"


def test_a_worker_picks_up_by_itself_when_redis_was_killed_and_is_back(own_server, tmp_path):
    own_server.start()
    workers = Workers(own_server.url, tmp_path)
    try:
        workers.start(echo_delay=0.02, slots=4)
        queue = Queue(own_server.url)
        job_id = queue.submit(60)
        wait_for(lambda: queue.count(job_id, "succeeded") > 8, "nothing ran")
        own_server.kill()
        time.sleep(2)
        own_server.start()
        queue.wait_status(job_id, "completed")
        assert set(queue.check_all_succeeded_once(job_id)) == {1}, "nobody alive was reaped"
    finally:
        workers.stop_all()


def test_a_worker_started_before_redis_waits_for_it(own_server, tmp_path):
    workers = Workers(own_server.url, tmp_path)
    try:
        process = workers.start(wait=False)
        wait_for(lambda: b"waiting for Redis" in workers.log(process), "it did not say what it waits for")
        own_server.start()
        wait_for(lambda: b"serving echo" in workers.log(process), "it did not start")
    finally:
        workers.stop_all()
