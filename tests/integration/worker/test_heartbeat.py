"""An engine that hangs ends its process; one that is idle or merely slow does not."""

from __future__ import annotations

import math
import subprocess
import sys

import psutil
import pytest

from tests.support.processes import ROOT
from tests.support.waiting import wait_until
from worker.process_end import WEDGED

# A real heartbeat beside an engine whose step has been running for so long.
SCRIPT = """
import multiprocessing, sys, time
from types import SimpleNamespace
from common.settings import Settings
from common.store.connection import connect
from worker.heartbeat import Heartbeat

child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=[600], daemon=True)
child.start()
print(child.pid, flush=True)
age = float(sys.argv[2])
engine = SimpleNamespace(step_age=lambda: age)
model_server = SimpleNamespace(engine=engine, wedge_limit=5.0, heartbeat=lambda: None,
    holds=lambda job: False, needs_turn=lambda: False,
    incarnation=SimpleNamespace(id="i"))
settings = Settings.load(lease=1, heartbeat=0.1)
heartbeat = Heartbeat(connect(sys.argv[1]), [model_server], settings)
heartbeat.start()
time.sleep(1)
heartbeat.stop()
"""


@pytest.mark.parametrize(
    ("age", "status", "said"),
    [
        (5.1, WEDGED, "an engine step has been running for 5 s (limit 5 s): ending"),
        (math.inf, WEDGED, "the engine computes no more: ending"),
        (4.9, 0, ""),
        (0.0, 0, ""),
    ],
)
def test_only_a_step_over_the_limit_ends_the_process_with_all_that_the_engine_started(
    redis_url: str, age: float, status: int, said: str
) -> None:
    command = [sys.executable, "-c", SCRIPT, redis_url, str(age)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == status, done.stderr
    assert said in done.stderr and ("ending" in done.stderr) == (status == WEDGED)
    child = int(done.stdout)
    wait_until(lambda: not psutil.pid_exists(child), limit=10.0)
