"""Prompts that kill their worker or make its engine hang, on real workers that are restarted."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.worker.poisoned import DEADLY, STICKY
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from worker.process_end import WEDGED

FAST: dict[str, Any] = {
    "lease": 1,
    "heartbeat": 0.2,
    "slots": 9,
    "echo_delay": 0.1,
    "wedge_limit": 1,
}


@contextmanager
def supervised(workers: Workers, **settings: object) -> Iterator[list[int]]:
    """A worker that is started again whenever it dies; the exit codes of those that did."""
    codes: list[int] = []
    over = threading.Event()

    def start() -> subprocess.Popen[bytes]:
        app = "tests.integration.worker.poisoned"
        return workers.start(app=app, wait=False, **{**FAST, **settings})

    def keep_up() -> None:
        process = start()
        while not over.wait(0.05):
            if process.poll() is not None:
                codes.append(process.returncode)
                process = start()

    thread = threading.Thread(target=keep_up)
    thread.start()
    try:
        yield codes
    finally:
        over.set()
        thread.join()


def check_guilty(queue: Queue, job_id: str, guilty: int) -> None:
    rows = queue.store.rows(job_id, 0, queue.count(job_id, "total"))
    assert [row["index"] for row in rows if row["status"] != "succeeded"] == [guilty]
    error = rows[guilty]["error"]
    assert error and (error["code"], rows[guilty]["attempts"]) == ("worker_lost", 3)


def test_a_prompt_that_kills_its_workers_fails_alone(workers: Workers, queue: Queue) -> None:
    with supervised(workers) as codes:
        job_id = queue.submit(30, special={13: DEADLY})
        queue.wait_status(job_id, "completed", 60)
    assert codes == [-9] * 3
    check_guilty(queue, job_id, 13)


def test_a_hanging_engine_ends_its_process_and_fails_only_the_item_it_hung_on(
    workers: Workers, queue: Queue
) -> None:
    with supervised(workers) as codes:
        job_id = queue.submit(12, special={4: STICKY})
        queue.wait_status(job_id, "completed", 60)
    assert codes == [WEDGED] * 3
    check_guilty(queue, job_id, 4)


def test_an_engine_that_is_idle_or_slow_is_left_alone(workers: Workers, queue: Queue) -> None:
    worker = workers.start(app="tests.integration.worker.poisoned", **FAST)
    time.sleep(2.5)  # idle, for longer than the wedge limit
    job_id = queue.submit(1, max_tokens=30)  # three seconds of steps
    queue.wait_status(job_id, "completed")
    assert worker.poll() is None
    wait_until(lambda: queue.count(job_id, "succeeded") == 1, "it was lost")
