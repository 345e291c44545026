"""Evaluators as processes: they hear of work, share it, take turns, and leave in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.doctor import check_evaluations
from common.rings import RingSender
from common.store import keys
from common.store.evaluation_work import EvaluationWork
from common.store.evaluations import Asked, Evaluations
from tests.support.evaluated import ended_job, new_job, run_job
from tests.support.evaluator import EvaluatorPart
from tests.support.store import Mill
from tests.support.waiting import wait_until
from worker.evaluating import Evaluating

MATCH = Asked(["exact_match"], [])
SLOW = Asked(["rouge_l", "chrf", "bleu"], [])
TEXT = "the order was late and a customer wrote about the refund of this parcel"


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Callable[[], EvaluatorPart]]:
    started: list[EvaluatorPart] = []

    def one() -> EvaluatorPart:
        started.append(EvaluatorPart(redis_url, tmp_path / f"evaluator-{len(started)}.log"))
        return started[-1]

    yield one
    for part in started:
        part.kill()


def test_an_evaluator_finds_by_itself_what_waits_and_hears_rings(
    mill: Mill, evaluations: Evaluations, start: Callable[[], EvaluatorPart], redis_url: str
) -> None:
    job = new_job(mill, ["a", "b"], evaluate=MATCH.to_json())
    run_job(mill, ["a", "c"])
    start()
    done = wait_until(lambda: evaluations.newest_done(job))
    assert done.summary["exact_match"]["value"] == 0.5
    second = evaluations.create(job, "t", MATCH)
    RingSender(redis_url).wake_evaluator()
    wait_until(lambda: evaluations.get(second.id).status == "done")
    assert mill.client.llen("evaluate") == 0


def test_an_evaluator_that_is_told_to_end_gives_back_what_it_holds(
    mill: Mill,
    evaluations: Evaluations,
    work: EvaluationWork,
    start: Callable[[], EvaluatorPart],
) -> None:
    job = ended_job(mill, [TEXT] * 6000, [TEXT[::-1]] * 6000)
    made = evaluations.create(job, "t", SLOW)
    part = start()
    wait_until(lambda: evaluations.get(made.id).done)
    assert part.stop() == 0
    left = evaluations.get(made.id)
    assert left.status == "running" and 0 < left.done < left.total
    claimed = work.claim()
    assert claimed and claimed.done == left.done


def test_a_large_evaluation_lets_another_tenants_go_first(
    mill: Mill,
    evaluations: Evaluations,
    work: EvaluationWork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.evaluating.SLICE", 0.0)  # a chunk at a time
    large = evaluations.create(ended_job(mill, ["a"] * 2000, ["a"] * 2000), "t", MATCH)
    small = evaluations.create(ended_job(mill, ["a"], ["a"], tenant="u"), "u", MATCH)
    evaluating = Evaluating(mill.client, work, threading.Event())
    while not evaluations.get(small.id).finished_at:
        assert evaluating.evaluate_next()
    between = evaluations.get(large.id)
    assert between.done < between.total and not between.finished_at
    while evaluating.evaluate_next():
        pass
    assert evaluations.get(large.id).status == "done"


def test_evaluators_share_what_waits(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    jobs = [ended_job(mill, ["a"] * 40, ["a"] * 40, tenant=f"t{i}") for i in range(3)]
    made = [evaluations.create(job, f"t{i}", MATCH) for i, job in enumerate(jobs) for _ in "ab"]
    closing = threading.Event()

    def all_of_it() -> None:
        evaluating = Evaluating(mill.client, work, closing)
        while evaluating.evaluate_next():
            pass

    threads = [threading.Thread(target=all_of_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = [evaluations.get(each.id) for each in made]
    assert {each.status for each in found} == {"done"}
    assert {each.summary["exact_match"]["n"] for each in found} == {40}


def test_the_doctor_tells_of_an_evaluation_that_nobody_takes(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    made = evaluations.create(ended_job(mill, ["a"]), "t", MATCH)
    assert list(check_evaluations(mill.client)) == []
    mill.client.zadd(keys.evaluations_due("t"), {made.id: mill.store.now() - 90_000})
    (finding,) = check_evaluations(mill.client)
    assert not finding.good and "waited for 9" in finding.what
    assert "promptmill evaluator" in finding.fix
    assert work.claim()
    assert list(check_evaluations(mill.client)) == []
