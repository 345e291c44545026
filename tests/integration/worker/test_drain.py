"""A real worker that is drained finishes what it has, takes nothing more, and goes on when it is
resumed."""

from __future__ import annotations

import time

from common.store.connection import connect
from common.store.fleet import Fleet
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers


def test_a_drained_worker_takes_nothing_until_it_is_resumed(
    workers: Workers, queue: Queue, redis_url: str
) -> None:
    workers.start(slots=2, echo_delay=0.02)
    fleet = Fleet(connect(redis_url))
    (worker,) = fleet.workers()
    job_id = queue.submit(12)
    wait_until(lambda: queue.count(job_id, "succeeded") >= 2)
    fleet.drain(worker.id, True)
    wait_until(lambda: queue.count(job_id, "running") == 0)
    done = queue.count(job_id, "succeeded")
    time.sleep(1.5)  # longer than a tick, which must not wake it
    assert queue.count(job_id, "succeeded") == done < 12
    queue.ring(fleet.drain(worker.id, False))
    queue.wait_status(job_id, "completed")
    queue.check_all_succeeded_once(job_id)
    fleet.client.close()
