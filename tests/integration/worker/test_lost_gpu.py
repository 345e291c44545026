"""A worker that computes on a GPU which another has taken stops, and what it held is not lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import redis

from common.store import keys
from tests.support.gpus import have_gpus, uuid
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from worker.process_end import GPU_LOST


@pytest.fixture
def four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpus(tmp_path, monkeypatch, 4)


def start_on_two(workers: Workers) -> subprocess.Popen[bytes]:
    app = "tests.integration.worker.claiming"
    return workers.start(app=app, slots=4, echo_delay=0.05, engine="vllm", tensor_parallel=2)


def test_a_worker_whose_gpu_another_uses_hands_back_its_items_and_ends(
    four_gpus: None, workers: Workers, queue: Queue, redis_client: redis.Redis
) -> None:
    lost = start_on_two(workers)
    job_id = queue.submit(8, max_tokens=80)  # four seconds each
    wait_until(lambda: queue.count(job_id, "running") == 4)
    redis_client.set(keys.gpu(uuid(1)), "box:99:other", px=60_000)
    assert lost.wait(20) == GPU_LOST
    said = workers.log(lost)
    assert f"box:99:other uses {uuid(1)} now" in said and "draining:" in said, said
    assert queue.count(job_id, "pending") == 8, "handed back at once, not when the lease expires"
    assert redis_client.get(keys.gpu(uuid(1))) == b"box:99:other"
    started = start_on_two(workers)  # a lock of the first one has not expired yet
    assert f"using GPU {uuid(2)}, {uuid(3)}" in workers.log(started)
    queue.wait_status(job_id, "completed", 60)
    assert queue.check_all_succeeded_once(job_id) == [1] * 8, "no attempt was charged"
    started.terminate()
    started.wait(20)
    assert not redis_client.exists(keys.gpu(uuid(2)), keys.gpu(uuid(3)))
