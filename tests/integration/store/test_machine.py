"""A random walk over the real scripts on a real server, held against a plain Python model of the
states: its steps are `tests/support/store_walk*.py`, its model is `store_model.py`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import initialize

from common.store import evaluation_work, scripts
from common.types import MOVES, ItemState
from tests.support.store_model import MOST_TRIES
from tests.support.store_walk_evaluations import EvaluationSteps
from tests.support.store_walk_jobs import SubmittingSteps
from tests.support.store_walk_losses import LossSteps
from tests.support.store_walk_workers import WorkerSteps

DONE = ItemState.SUCCEEDED
EXAMPLES, STEPS = 13, 100  # of a round: few, so that not many more steps follow than are needed
LEAST_STEPS, LEAST_STRUCK = 5000, 3
# Which steps come how often depends on the modules that are loaded: hypothesis draws numbers that
# stand in them. So rounds follow until everything came about.
ROUNDS = 18
WANTED = {(start, end) for start, ends in MOVES.values() for end in ends}
# What is added to an expired job is seen as expired at once.
BORN = {(None, end) for end in ItemState}
# Scripts whose answer is lost at least once, and which are sent again.
SENT_AGAIN = {
    *("attach", "append", "edit", "cancel", "delete"),
    *("exchange", "heartbeat", "checkpoint", "release", "tick"),
    *("create_evaluation", "claim_evaluation", "keep_scores", "end_evaluation"),
}


class StoreMachine(SubmittingSteps, WorkerSteps, EvaluationSteps, LossSteps):
    @initialize()
    def begin(self) -> None:
        """A worker and an evaluator are at work: hypothesis leaves out some of the steps in each
        walk, and in most nothing would run."""
        super().begin()
        self.join(9)
        (worker,) = self.workers.values()
        self.attach(5, "b", False)
        self.turn(worker, [], 5)
        self.turn(worker, [self.end(j, i, DONE) for j, i in self.held_by(worker.id)], 0)
        self.evaluations_agree()
        self.claim(False)
        self.attach(8, "a", False)
        self.turn(worker, [], 6)


def left_out(machine: Any) -> dict[str, Any]:
    """What did not come about often enough in all walks so far."""
    kinds = ("exception", "exchange", "heartbeat", "evaluator")
    struck = {kind: machine.struck[kind] for kind in kinds if machine.struck[kind] < LEAST_STRUCK}
    found = {
        "steps": [machine.steps] if machine.steps < LEAST_STEPS else [],
        "sent again": SENT_AGAIN - set(machine.replies_lost),
        "struck": struck,
        "moves": WANTED - BORN - machine.moves,
    }
    return {name: each for name, each in found.items() if each}


def timeless() -> dict[str, str]:
    """Scripts as they are, but for constants: a walk is the same on a busy machine, and in the
    middle of recounting a tenant's jobs most of the time."""
    found: dict[str, str] = {}
    for name, constant, other in (
        ("exchange", "SLICE = 1000", "SLICE = math.huge"),
        ("tick", "RECOUNTED = 1000", "RECOUNTED = 2"),
        ("tick", "RECOUNT_PAUSE = 600000", "RECOUNT_PAUSE = 0"),
    ):
        whole = found.get(name) or scripts.source(name)
        assert constant in whole
        found[name] = whole.replace(constant, other)
    return found


@pytest.mark.timeout(400)  # two minutes on a busy machine
def test_the_store_never_leaves_its_model(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed, real = timeless(), scripts.source
    monkeypatch.setattr(evaluation_work, "MOST_CLAIMS", MOST_TRIES)
    monkeypatch.setattr(scripts, "source", lambda name: changed.get(name) or real(name))
    machine: Any = type(
        "Machine",
        (StoreMachine,),
        {"url": redis_url, "moves": set(), "replies_lost": Counter(), "struck": Counter()},
    )
    walk = machine.TestCase
    walk.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        # A real server shrinks slowly; the failing walk is printed as it was.
        phases=[Phase.generate],
    )
    for number in range(ROUNDS):
        seed(number)(machine)
        walk().runTest()
        if not (lacking := left_out(machine)):
            break
    assert not lacking
    assert machine.moves - BORN == WANTED - BORN
