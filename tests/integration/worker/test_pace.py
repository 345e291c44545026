"""When a job of real workers will be over is known while it runs."""

from __future__ import annotations

import random
import time

from common.settings import Settings
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from web.jobs.pace import pace
from web.services.services import Services

RUNS = 20


def estimate_is_true(services: Services, queue: Queue, share: float) -> bool:
    """Of one run, asked when so much of it is done."""
    items = 120
    job_id = queue.submit(items)
    wait_until(lambda: queue.count(job_id, "succeeded") >= share * items)
    asked, found = time.monotonic(), pace(services, queue.store.job(job_id)).remaining
    queue.wait_status(job_id, "completed")
    took = time.monotonic() - asked
    assert found is not None and found.high / found.low <= 4
    return found.low <= took <= found.high


def test_the_truth_is_within_the_range_in_18_of_20_runs(
    workers: Workers, queue: Queue, redis_url: str
) -> None:
    workers.start(slots=8, echo_delay=0.008)
    services = Services.build(Settings.load(redis_url=redis_url))
    dice = random.Random(1)
    found = [estimate_is_true(services, queue, dice.uniform(0.2, 0.7)) for _ in range(RUNS)]
    services.redis.close()
    assert sum(found) >= 18, found
