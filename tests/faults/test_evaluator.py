"""Evaluators that are killed or frozen: the numbers are those of an evaluator that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.store.evaluation_work import EvaluationWork
from common.store.evaluations import Asked, Evaluation, Evaluations
from tests.support.evaluated import new_job, run_job, stored_scores
from tests.support.evaluator import EvaluatorPart
from tests.support.parts import environment
from tests.support.processes import ROOT
from tests.support.store import Mill
from tests.support.valkey import OwnServer
from tests.support.waiting import wait_until
from worker.evaluating import Evaluating

ITEMS = 6 * 512 + 100
KILLS = 9
ASKED = Asked(["bleu", "chrf", "rouge_l"], [{"metric": "rouge_l", "min": 0.1}])
JOB, EVALUATION = "job_0judged", "eval_0judged"
WORDS = ("the order was late and a customer wrote about the refund of this parcel " * 3).split()
# Ends like a machine without power, when all scores are stored and there is no summary.
DIES_AT_THE_SUMMARY = """
import os, signal, sys, threading
from common.store.connection import connect
from common.store.evaluation_work import EvaluationWork
from evals.summary import Tally
from worker.evaluating import Evaluating
Tally.summary = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
client = connect(sys.argv[1])
while Evaluating(client, EvaluationWork(client), threading.Event()).evaluate_next():
    pass
"""


@pytest.fixture
def mill(redis_url: str) -> Mill:
    return Mill(redis_url)


@pytest.fixture
def evaluations(mill: Mill) -> Evaluations:
    return Evaluations(mill.client)


@pytest.fixture
def evaluator(redis_url: str, tmp_path: Path) -> Iterator[Callable[[], EvaluatorPart]]:
    started: list[EvaluatorPart] = []

    def start() -> EvaluatorPart:
        started.append(EvaluatorPart(redis_url, tmp_path / f"evaluator-{len(started)}.log"))
        return started[-1]

    yield start
    for part in started:
        part.kill()


def make_job(mill: Mill) -> None:
    """The same job, under the same id, with an evaluation when it ends."""
    draw = random.Random(11)
    references = [" ".join(draw.choices(WORDS, k=draw.randint(3, 25))) for _ in range(ITEMS)]
    outputs = [f"{text[: draw.randint(1, 80)]} {draw.choice(WORDS)}" for text in references]
    asked = ASKED.to_json()
    new_job(mill, references, job_id=JOB, evaluate=asked, hooks="evaluation.finished")
    run_job(mill, outputs)


def undisturbed(mill: Mill) -> None:
    evaluating = Evaluating(mill.client, EvaluationWork(mill.client), threading.Event())
    while evaluating.evaluate_next():
        pass


def figures(mill: Mill, evaluations: Evaluations) -> list[Any]:
    found = evaluations.get(EVALUATION)
    assert found.status == "done", found.error
    scores = stored_scores(mill.client, EVALUATION, ITEMS)
    return [found.summary, found.signatures, found.gate, found.done, scores]


def expected(mill: Mill, evaluations: Evaluations) -> list[Any]:
    """What comes out if nothing happens; the job is gone afterwards."""
    make_job(mill)
    undisturbed(mill)
    found = figures(mill, evaluations)
    mill.store.delete(JOB)
    return found


def events(mill: Mill) -> list[str]:
    return [event.type for event in mill.store.hooks(JOB)]


def lapse(mill: Mill) -> None:
    """Let the claim run out without waiting for it."""
    mill.client.zadd("pm:evals:due:t", {EVALUATION: 1}, xx=True)


def further(evaluations: Evaluations, than: int) -> Evaluation:
    def look() -> Evaluation | None:
        found = evaluations.get(EVALUATION)
        return found if found.done > than or found.status == "done" else None

    return wait_until(look)


@pytest.mark.timeout(300)  # seconds: eleven processes start, beside whatever else runs
def test_ten_kills_change_no_number_and_there_is_one_event(
    mill: Mill,
    evaluations: Evaluations,
    evaluator: Callable[[], EvaluatorPart],
    redis_url: str,
) -> None:
    wanted = expected(mill, evaluations)
    make_job(mill)
    draw = random.Random(7)
    done = 0
    for _ in range(KILLS):
        part = evaluator()
        if draw.random() < 0.7 and done < ITEMS - 1024:
            done = further(evaluations, done).done
        else:  # in the middle of a chunk, or before it could begin
            part.wait_until_said("[tasks]")
            threading.Event().wait(draw.random() / 10)
        part.kill()
        lapse(mill)
    assert 0 < evaluations.get(EVALUATION).done < ITEMS
    last = subprocess.run(
        [sys.executable, "-c", DIES_AT_THE_SUMMARY, redis_url],
        cwd=ROOT,
        env=environment(redis_url),
        timeout=100,
        check=False,
    )
    assert last.returncode == -signal.SIGKILL
    left = evaluations.get(EVALUATION)
    assert (left.status, left.done, left.summary) == ("running", ITEMS, {})
    assert events(mill) == []
    lapse(mill)
    evaluator()
    wait_until(lambda: evaluations.get(EVALUATION).finished_at)
    assert figures(mill, evaluations) == wanted
    assert events(mill) == ["evaluation.finished"]


def test_what_a_frozen_evaluator_writes_when_it_goes_on_is_refused(
    mill: Mill, evaluations: Evaluations, evaluator: Callable[[], EvaluatorPart]
) -> None:
    wanted = expected(mill, evaluations)
    make_job(mill)
    frozen = evaluator()
    further(evaluations, 0)
    os.killpg(frozen.process.pid, signal.SIGSTOP)
    assert evaluations.get(EVALUATION).status == "running"
    lapse(mill)
    undisturbed(mill)
    os.killpg(frozen.process.pid, signal.SIGCONT)
    frozen.wait_until_said("evaluation dropped")
    assert figures(mill, evaluations) == wanted
    assert events(mill) == ["evaluation.finished"]
    assert frozen.stop() == 0


def test_an_evaluator_goes_on_when_redis_is_back(own_server: OwnServer, tmp_path: Path) -> None:
    own_server.start()
    mill = Mill(own_server.url)
    evaluations = Evaluations(mill.client)
    wanted = expected(mill, evaluations)
    make_job(mill)
    part = EvaluatorPart(own_server.url, tmp_path / "evaluator.log")
    try:
        further(evaluations, 0)
        own_server.kill()
        part.wait_until_said("evaluations wait")
        own_server.start()
        lapse(mill)
        wait_until(lambda: evaluations.get(EVALUATION).finished_at)
        assert figures(mill, evaluations) == wanted
        assert events(mill) == ["evaluation.finished"]
    finally:
        part.kill()
