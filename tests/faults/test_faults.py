"""The short storm of `bench/faults.py`: nothing lost, nothing twice, nothing unexpected."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys

import pytest

from bench.lib.fault_injector import WEIGHTS, plan
from tests.support.processes import ROOT, killed_on_error, spawn

LIMIT = 150.0  # seconds; on an idle machine it takes half a minute
KEYS = [
    "bench",
    "faults",
    "items",
    "evaluations",
    "lost",
    "duplicated",
    "unexpected",
    "reclaim_p50_s",
    "reclaim_p99_s",
    "reclaim_max_s",
    "false_reclaims",
    "cancel_p99_s",
    "commit",
]


@pytest.mark.timeout(LIMIT + 40)
def test_a_storm_loses_nothing_and_repeats_nothing() -> None:
    process = spawn(
        [sys.executable, "-m", "bench.faults"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # it ends its parts itself
        with killed_on_error(process):
            said, _ = process.communicate(timeout=20)
        pytest.fail(f"not done within {LIMIT:.0f} s:\n{said}")
    assert process.returncode == 0, said
    answer = json.loads(said.splitlines()[-1])
    assert list(answer) == KEYS
    assert (answer["lost"], answer["duplicated"], answer["unexpected"]) == (0, 0, 0)
    assert (
        answer["items"] >= 1000
        and answer["evaluations"] > 0
        and set(answer["faults"]) <= set(WEIGHTS)
        and sum(answer["faults"].values()) >= 10
    )


def test_equal_seeds_plan_equal_storms_with_every_kind_of_fault() -> None:
    plans = [plan(random.Random(7), 40) for _ in range(2)]
    assert plans[0] == plans[1] and len(plans[0]) == 40
    assert set(plans[0]) == set(WEIGHTS)
