"""vLLM's own processes live until their worker has drained, and none outlives it: two of them, on a
CPU, of real workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import redis

from common.errors import ConfigError
from tests.support.parts import WORKER
from tests.support.processes import marked, survivors
from tests.support.waiting import wait_until
from tests.vllm.workers import Jobs, TwoProcessWorker, shared_memory
from worker.engine.vllm.options import VllmOptions
from worker.engine.vllm.processes import Processes
from worker.process_end import WEDGED

# Each start of vLLM imports torch in three processes.
pytestmark = pytest.mark.timeout(900)
TWO = VllmOptions(tensor_parallel=2, args={"enforce_eager": True})


class Started:
    """The workers of a test, in a log file each, which end with it."""

    def __init__(self, url: str, model: Path, folder: Path):
        self._url, self._model, self._folder = url, model, folder
        self.all: list[TwoProcessWorker] = []

    def worker(self, words: tuple[str, ...] = WORKER) -> TwoProcessWorker:
        log = self._folder / f"worker-{len(self.all)}.log"
        self.all.append(TwoProcessWorker(self._url, self._model, log, words))
        self.all[-1].wait_until_it_serves()
        return self.all[-1]


@pytest.fixture
def mark() -> Iterator[str]:
    """All processes that a test starts carry it."""
    with marked() as mark:
        yield mark


@pytest.fixture
def started(mark: str, redis_url: str, tiny_model: Path, tmp_path: Path) -> Iterator[Started]:
    started = Started(redis_url, tiny_model, tmp_path)
    yield started
    for worker in started.all:
        worker.kill()


@pytest.fixture
def jobs(redis_url: str, tiny_model: Path) -> Jobs:
    return Jobs(redis_url, tiny_model.name)


def sockets(process: psutil.Process) -> set[str]:
    """The sockets that a process has open, by the kernel's numbers."""
    folder, found = Path(f"/proc/{process.pid}/fd"), set()
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            target = str(entry.readlink())
            if target.startswith("socket:"):
                found.add(target)
    return found


def check_nothing_left(mark: str, memory: set[Path]) -> None:
    wait_until(lambda: not survivors(mark), lambda: survivors(mark), 10.0)
    assert memory, "the processes had shared some"
    wait_until(lambda: not any(path.exists() for path in memory), lambda: memory, 10.0)


def test_a_signal_to_the_whole_group_ends_them_only_after_the_drain(
    mark: str, started: Started, jobs: Jobs, redis_client: redis.Redis
) -> None:
    worker = started.worker()
    computing, memory = worker.computing(), shared_memory(worker.family())
    assert len(computing) == 2
    own = psutil.Process(worker.process.pid)
    port = redis_client.connection_pool.connection_kwargs["port"]
    for each in computing:
        assert not sockets(own) & sockets(each), "a socket of the worker was inherited"
        assert all(c.raddr.port != port for c in each.net_connections("tcp") if c.raddr)
    assert redis_client.zcard("pm:workers") == 1, "no second worker"

    job_id = jobs.submit(4, max_tokens=400)
    jobs.wait_for(job_id, "running", 4)
    os.killpg(worker.process.pid, signal.SIGTERM)
    wait_until(lambda: "draining:" in worker.log)
    time.sleep(1)
    assert len(worker.computing()) == 2
    assert worker.process.wait(300) == 0, worker.log
    assert jobs.count(job_id, "succeeded") == 4, worker.log
    assert jobs.attempts(job_id) == [1] * 4
    check_nothing_left(mark, memory)


def test_the_end_of_one_or_of_the_worker_ends_all(mark: str, started: Started, jobs: Jobs) -> None:
    first = started.worker()
    memory = shared_memory(first.family())
    job_id = jobs.submit(6, max_tokens=400)
    jobs.wait_for(job_id, "running", 4)
    first.computing()[1].kill()
    assert first.process.wait(15) == WEDGED, first.log
    assert "the engine computes no more: ending" in first.log
    check_nothing_left(mark, memory)

    second = started.worker(("cli.main", "worker", "--processes=1"))
    assert len(second.computing()) == 2
    memory = shared_memory(second.family())
    jobs.wait_for(job_id, "succeeded", 6, 300)
    assert sorted(jobs.attempts(job_id)) == [1, 1, 2, 2, 2, 2]

    job_id = jobs.submit(6, max_tokens=400)
    jobs.wait_for(job_id, "running", 4)
    second.computing()[1].suspend()  # the step never returns, and the process hears no SIGTERM
    assert second.process.wait(600) == WEDGED, second.log
    assert "an engine step has been running for" in second.log
    check_nothing_left(mark, memory)

    third = started.worker()
    memory = shared_memory(third.family())
    jobs.wait_for(job_id, "succeeded", 6, 300)
    assert set(jobs.attempts(job_id)) <= {1, 2}  # 1 where a checkpoint was kept while it hung
    job_id = jobs.submit(4, max_tokens=400)
    jobs.wait_for(job_id, "running", 4)
    third.computing()[0].suspend()  # not even one that hangs may stay
    third.process.kill()
    check_nothing_left(mark, memory)


@contextmanager
def refused_without_a_rest() -> Iterator[None]:
    """vLLM refuses to start within, and leaves no process and no signal blocked."""
    before = set(multiprocessing.active_children())
    with pytest.raises(ConfigError, match="vLLM cannot run the model in"):
        yield
    assert set(multiprocessing.active_children()) == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGTERM, signal.SIGINT}


def open_with_two(folder: Path) -> None:
    from worker.engine.vllm.library import open_vllm, vllm_version

    vllm_version()
    open_vllm(folder, TWO, Processes(), slots=2, context=128, dtype="float32")


def test_a_model_that_its_processes_cannot_load_leaves_none(
    tiny_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"intermediate_size": 256}))
    with refused_without_a_rest():
        open_with_two(broken)


def test_one_that_is_killed_while_it_loads_leaves_none(tiny_model: Path) -> None:
    before = multiprocessing.active_children()

    def kill_one() -> None:  # as the kernel does when memory runs out
        new = wait_until(
            lambda: [each for each in multiprocessing.active_children() if each not in before],
            limit=300.0,
        )
        time.sleep(1)
        new[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with refused_without_a_rest():
        open_with_two(tiny_model)
    killer.join()
