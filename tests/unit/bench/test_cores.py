"""All contestants of the engine's bench have the same cores and as many threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from bench.lib.cores import Cores

SHARED = """
import json, os, subprocess, sys
from dataclasses import asdict
from bench.lib.cores import share_cores
mine = asdict(share_cores())
child = "import os; print(os.environ['OMP_NUM_THREADS'], sorted(os.sched_getaffinity(0)))"
told = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout
print(json.dumps([mine, told.strip()]))
"""


@pytest.mark.timeout(120)  # seconds: a process that imports torch, beside whatever else runs
def test_processes_that_are_started_have_the_cores_and_threads_of_this_one() -> None:
    first = min(os.sched_getaffinity(0))
    ran = subprocess.run(
        [sys.executable, "-c", SHARED],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    mine, told = json.loads(ran.stdout)
    assert mine == {"threads": 1, "cores": [first]}
    assert told == f"1 [{first}]"


def test_a_contestant_with_other_threads_or_cores_is_refused() -> None:
    ours = Cores(2, [0, 1])
    ours.check(asdict(ours))
    for other in (Cores(1, [0, 1]), Cores(2, [0, 3])):
        with pytest.raises(RuntimeError, match="a contestant has"):
            ours.check(asdict(other))
