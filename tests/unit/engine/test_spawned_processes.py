"""Processes that an engine's own processes start run as anywhere else, and end with them. Without
vLLM: what prepares its processes needs none."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing.connection import Connection

import psutil

from tests.support.processes import ROOT, spawn
from tests.support.waiting import wait_until
from worker.engine.vllm.processes import Processes


def sleeping(told: Connection) -> None:
    told.send(os.getpid())
    time.sleep(600)


def starting_another(told: Connection) -> None:
    """A process of the engine, which starts one of its own."""
    other = multiprocessing.get_context("spawn").Process(target=sleeping, args=[told])
    other.start()
    other.join()
    told.send(None)


def main() -> None:
    """The worker: it says who computes, and is killed."""
    heard, told = multiprocessing.Pipe(duplex=False)
    with Processes().starting():
        context = multiprocessing.get_context("spawn")
        started = context.Process(target=starting_another, args=[told])
        started.start()
    print(started.pid, heard.recv(), flush=True)
    time.sleep(600)


def test_a_process_of_an_engines_process_runs_and_ends_with_the_worker() -> None:
    command = [sys.executable, "-c", f"from {__name__} import main; main()"]
    with spawn(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout
            words = worker.stdout.readline().split()
            assert len(words) == 2 and words[1] != "None", f"it ended at once: {words}"
        finally:
            worker.kill()
    wait_until(lambda: not any(psutil.pid_exists(int(each)) for each in words), limit=10)
