"""Evaluators that are killed while they compare jobs: the same comes out as without."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.store.comparisons import Comparisons
from tests.support.compared import compared, evaluate
from tests.support.evaluated import new_job, run_job
from tests.support.evaluator import EvaluatorPart
from tests.support.processes import ROOT
from tests.support.store import Mill
from tests.support.waiting import wait_until

# Ends like a machine without power, in the middle of a comparison.
DIES = """
import os, signal, sys, threading
from common.store.connection import connect
from worker import {module}
from worker.comparing import Comparing
{module}.{name} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Comparing(connect(sys.argv[1]), threading.Event()).compare_next()
"""
TEXTS = [
    f"the order {number} was late and the refund came on day {number % 7}" for number in range(80)
]


@pytest.fixture
def mill(redis_url: str) -> Mill:
    return Mill(redis_url)


def judged(mill: Mill, kept: int) -> str:
    """A job whose outputs are so many letters of the reference."""
    made = new_job(mill, TEXTS)
    run_job(mill, [text[: kept + number % 9] for number, text in enumerate(TEXTS)])
    evaluate(mill.client, made, ("rouge_l", "chrf"))
    return made


def test_kills_in_the_middle_change_nothing(mill: Mill, redis_url: str, tmp_path: Path) -> None:
    jobs = judged(mill, 30), judged(mill, 32)
    expected = compared(mill.client, *jobs)
    (name,) = mill.client.keys("pm:comparison:*")
    comparison = name.decode().removeprefix("pm:comparison:")
    comparisons = Comparisons(mill.client)
    rows = comparisons.blocks(comparison, [0])
    asked = mill.client.hget(name, "asked")
    mill.client.delete(name)
    mill.client.hset(name, mapping={"tenant": "t", "job": jobs[0], "asked": asked, "tries": 0})
    mill.client.hset(name, "status", "queued")
    line = "pm:comparisons:due:t"
    for module, function in (
        ("comparing", "read_facts"),
        ("compared_scores", "holm"),
        ("compared_rows", "pack_block"),
    ):
        mill.client.zadd(line, {comparison: 1})
        mill.client.zadd("pm:comparisons:turns:due", {"t": 1})
        script = DIES.format(module=module, name=function)
        code = subprocess.run(
            [sys.executable, "-c", script, redis_url], cwd=ROOT, timeout=60, check=False
        ).returncode
        assert code == -signal.SIGKILL
        assert comparisons.get(comparison).result is None
    mill.client.zadd(line, {comparison: 1})
    evaluator = EvaluatorPart(redis_url, tmp_path / "evaluator.log")
    try:
        wait_until(lambda: comparisons.get(comparison).result, lambda: evaluator.log)
    finally:
        evaluator.kill()
    assert comparisons.get(comparison).result == expected
    assert comparisons.blocks(comparison, [0]) == rows
