"""Claims on evaluations: tenants in turn, under a lease, fenced."""

from __future__ import annotations

import time

from common.store.evaluation_work import MOST_CLAIMS, Claimed, Ended, EvaluationWork
from common.store.evaluations import Asked, Evaluations
from tests.support.evaluated import ended_job, scores_of, stored_scores
from tests.support.store import Mill

ROUGE = Asked(["rouge_l"], [])
DONE = Ended({"rouge_l": {"n": 2}}, {"rouge_l": "x"}, {"status": "passed", "rules": []})


def claim(work: EvaluationWork) -> Claimed:
    found = work.claim()
    assert found
    return found


def lapse(mill: Mill, claimed: Claimed) -> None:
    """Let a claim run out without waiting for it."""
    mill.client.zadd(f"pm:evals:due:{claimed.tenant}", {claimed.id: 1})


def test_tenants_take_turns(mill: Mill, evaluations: Evaluations, work: EvaluationWork) -> None:
    mine = ended_job(mill, ["a"])
    made = [evaluations.create(mine, "t", ROUGE) for _ in range(3)]
    first, *rest = (at.id for at in sorted(made, key=lambda at: (at.created_at, at.id)))
    theirs = ended_job(mill, ["a"], tenant="u")
    other = evaluations.create(theirs, "u", ROUGE).id
    assert {claim(work).id, claim(work).id} == {first, other}
    assert [claim(work).id, claim(work).id] == rest
    assert work.claim() is None


def test_one_that_is_given_back_goes_behind_the_tenants_others(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    job = ended_job(mill, ["a"])
    made = {evaluations.create(job, "t", ROUGE).id for _ in range(2)}
    held = claim(work)
    (other,) = made - {held.id}
    time.sleep(0.002)  # of the same millisecond, either may be first
    assert work.give_back(held)
    assert not work.keep(held, 0, b"late", 1)
    assert [claim(work).id, claim(work).id] == [other, held.id]


def test_a_holder_whose_claim_ran_out_writes_nothing_any_more(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    job = ended_job(mill, ["a", "b"], hooks="evaluation.finished")
    made = evaluations.create(job, "t", ROUGE)
    late = claim(work)
    assert work.keep(late, 0, scores_of([0.25]), 1)
    lapse(mill, late)
    new = claim(work)
    assert (new.id, new.done) == (made.id, 1)
    assert not work.keep(late, 0, scores_of([0.5]), 1)
    assert not work.hold(late, tokenizer="zh")
    assert not work.give_back(late)
    assert work.end(late, DONE) == (False, False)
    assert stored_scores(mill.client, made.id, 1) == {"rouge_l": [0.25]}
    assert work.keep(new, 1, scores_of([0.75]), 2)
    assert work.end(new, DONE) == (True, True)
    assert work.end(new, DONE) == (True, False)
    assert work.end(late, DONE) == (False, False)


def test_scores_follow_those_that_are_there_also_if_the_server_has_forgotten_some(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    """As after a failover to a replica that lags: the claim is known there, the scores are not."""
    made = evaluations.create(ended_job(mill, ["a"] * 12), "t", ROUGE)
    claimed = claim(work)
    assert not work.keep(claimed, 4, scores_of([0.5] * 4), 8)
    assert work.keep(claimed, 0, scores_of([0.25] * 4), 4)
    for _ in range(2):  # sent again, because its answer was lost
        assert work.keep(claimed, 4, scores_of([0.5] * 4), 8)
    assert not work.keep(claimed, 0, scores_of([0.75] * 4), 4)
    assert work.end(claimed, DONE) == (False, False)
    assert evaluations.get(made.id).status == "running"
    assert stored_scores(mill.client, made.id, 12)["rouge_l"] == [0.25] * 4 + [0.5] * 4 + [None] * 4
    assert work.keep(claimed, 8, scores_of([0.5] * 4), 12)
    assert work.end(claimed, DONE)[0]


def test_an_evaluation_at_which_evaluators_keep_dying_fails(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    job = ended_job(mill, ["a"] * 40)
    made = evaluations.create(job, "t", ROUGE)
    for _ in range(MOST_CLAIMS - 1):
        lapse(mill, claim(work))
    held = claim(work)
    assert work.keep(held, 0, scores_of([1.0] * 16), 16)  # it got further: the count begins anew
    lapse(mill, held)
    for _ in range(MOST_CLAIMS):
        lapse(mill, claim(work))
    assert work.claim() is None
    failed = evaluations.get(made.id)
    assert failed.status == "failed" and failed.error and failed.error["code"] == "evaluator_died"


def test_a_claim_that_is_given_back_does_not_count(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    evaluations.create(ended_job(mill, ["a"]), "t", ROUGE)
    for _ in range(3 * MOST_CLAIMS):
        assert work.give_back(claim(work))
    assert work.claim()


def test_what_is_noted_is_there_for_the_next_holder(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    evaluations.create(ended_job(mill, ["a"]), "t", ROUGE)
    held = claim(work)
    assert held.tokenizer is None and work.hold(held, tokenizer="zh")
    lapse(mill, held)
    assert claim(work).tokenizer == "zh"


def test_a_tick_says_when_an_evaluator_should_be_rung(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    def wanted() -> bool:
        return mill.fleet.tick(5.0, 3).evaluate

    assert not wanted()
    evaluations.create(ended_job(mill, ["a"]), "t", ROUGE)
    assert wanted()
    mill.client.rpush("evaluate", "a ring")
    assert not wanted()
    mill.client.delete("evaluate")
    held = claim(work)
    assert not wanted()
    lapse(mill, held)
    assert wanted()
