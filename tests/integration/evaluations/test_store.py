"""Evaluations in the store: made once, read by place, and gone with their job."""

from __future__ import annotations

import json

import pytest

from common.errors import Conflict, NotFound, StorageFull
from common.store import keys
from common.store.evaluation_work import Claimed, Ended, EvaluationWork
from common.store.evaluations import Asked, Evaluations
from tests.support.evaluated import ended_job, new_job, run_job, score, scores_of
from tests.support.store import Mill, done

ROUGE = Asked(["rouge_l"], [])
GATE = Asked(["rouge_l", {"name": "bleu", "tokenize": "zh"}], [{"metric": "bleu", "min": 3.5}])
DONE = Ended({"rouge_l": {"n": 2}}, {"rouge_l": "x"}, {"status": "passed", "rules": []})


def claim(work: EvaluationWork) -> Claimed:
    found = work.claim()
    assert found
    return found


def evaluation_keys(mill: Mill) -> dict[bytes, bytes]:
    """What is stored of evaluations, but for their events."""
    names = [name for name in mill.client.scan_iter("pm:*eval*") if b"hook" not in name]
    return {name: mill.client.dump(name) for name in names}


def test_an_evaluation_is_what_was_asked_for(mill: Mill, evaluations: Evaluations) -> None:
    job = ended_job(mill, ["a", "b"], ["a", "c"])
    made = evaluations.create(job, "t", GATE)
    assert (made.job, made.tenant, made.status, made.origin) == (job, "t", "queued", "request")
    assert (made.asked, made.done, made.total, made.summary) == (GATE, 0, 2, {})
    assert evaluations.get(made.id, "t") == made
    assert evaluations.of_job(job) == [made]
    assert evaluations.newest_done(job) is None


def test_the_newest_that_is_done_is_the_last_asked_for(
    mill: Mill, evaluations: Evaluations
) -> None:
    job = ended_job(mill, ["a", "b"])
    first = evaluations.create(job, "t", ROUGE)
    score(mill, [0.5, 1.0], DONE)
    evaluations.create(job, "t", ROUGE)
    assert len(evaluations.of_job(job)) == 2
    newest = evaluations.newest_done(job)
    assert newest and newest.id == first.id
    assert (newest.status, newest.done, newest.summary) == ("done", 2, DONE.summary)
    assert (newest.signatures, newest.gate, newest.error) == (DONE.signatures, DONE.gate, None)
    assert newest.started_at and newest.finished_at and newest.finished_at >= newest.started_at


def test_foreign_and_unknown_evaluations_are_not_found(
    mill: Mill, evaluations: Evaluations
) -> None:
    job = ended_job(mill, ["a"])
    made = evaluations.create(job, "t", ROUGE)
    with pytest.raises(NotFound, match="no job"):
        evaluations.create(job, "other", ROUGE)
    with pytest.raises(NotFound, match="no evaluation"):
        evaluations.get(made.id, "other")
    with pytest.raises(NotFound, match="no evaluation"):
        evaluations.get("eval_0none", "t")
    with pytest.raises(NotFound, match="no evaluation"):
        evaluations.get(f"{made.id}:scores", "t")


def test_a_job_that_is_not_over_is_not_evaluated(mill: Mill, evaluations: Evaluations) -> None:
    with pytest.raises(Conflict, match="is not over") as refused:
        evaluations.create(new_job(mill, ["a"]), "t", ROUGE, {0: ["b"]})
    assert refused.value.code == "not_over"
    assert not list(mill.client.scan_iter("pm:eval:*"))


def test_a_job_has_twenty_evaluations_at_most(mill: Mill, evaluations: Evaluations) -> None:
    job = ended_job(mill, ["a"])
    for _ in range(20):
        evaluations.create(job, "t", ROUGE)
    with pytest.raises(Conflict) as refused:
        evaluations.create(job, "t", ROUGE)
    assert refused.value.code == "too_many_evaluations"
    assert len(evaluations.of_job(job)) == 20


def test_references_given_later_count_to_what_the_tenant_keeps(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    job = ended_job(mill, ["a"] * 200)
    before = mill.store.job(job).size
    given = {3: ["x", "y"], 130: ["z" * 1000]}
    with pytest.raises(StorageFull):
        evaluations.create(job, "t", ROUGE, given, most_stored=before + 1)
    made = evaluations.create(job, "t", ROUGE, given)
    kept = int(mill.client.hget("pm:stored:t", "jobs") or 0)
    assert mill.store.job(job).size == kept > before
    assert int(mill.client.get("pm:finished:bytes") or 0) == kept
    assert mill.client.ttl(keys.evaluation(made.id, "refs")) == -1
    claimed = claim(work)
    assert claimed.referenced
    assert evaluations.get(made.id).referenced
    assert evaluations.references.read(made.id, 0, 5) == [None, None, None, ["x", "y"], None]
    assert evaluations.references.read(made.id, 60, 80)[70] == ["z" * 1000]


def test_without_references_the_items_own_count(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    job = ended_job(mill, ["a"], ["b"])
    evaluations.create(job, "t", ROUGE)
    assert not claim(work).referenced
    evaluations.create(job, "t", ROUGE, {})
    assert claim(work).referenced


@pytest.mark.parametrize("times", [1, 3])
def test_a_job_that_asked_for_it_is_evaluated_when_it_ends_once(
    mill: Mill, evaluations: Evaluations, times: int
) -> None:
    job = new_job(mill, ["a", "b"], evaluate=GATE.to_json())
    assert evaluations.of_job(job) == []
    run_job(mill, ["a", None])
    for _ in range(times):
        mill.store.cancel(job)
        mill.tick()
    (made,) = evaluations.of_job(job)
    assert made.id == job.replace("job_", "eval_")
    assert (made.origin, made.asked, made.total) == ("job", GATE, 2)


def test_a_job_without_a_single_success_is_not_evaluated_by_itself(
    mill: Mill, evaluations: Evaluations
) -> None:
    job = ended_job(mill, [None, None], ["a", "b"], evaluate=ROUGE.to_json())
    assert evaluations.of_job(job) == []


def test_a_cancelled_job_is_evaluated_as_far_as_it_got(
    mill: Mill, evaluations: Evaluations
) -> None:
    job = new_job(mill, ["a"] * 3, evaluate=ROUGE.to_json())
    worker = mill.worker()
    taken = worker.exchange([], 1)
    mill.store.cancel(job)
    assert evaluations.of_job(job) == []
    worker.exchange(done(taken), 0)
    assert mill.store.job(job).status == "cancelled"
    assert len(evaluations.of_job(job)) == 1


def test_numbers_are_those_of_all_chunks(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork
) -> None:
    job = ended_job(mill, ["a"] * 600)
    made = evaluations.create(job, "t", ROUGE)
    held = claim(work)
    whole = [index / 1000 for index in range(600)]
    assert work.keep(held, 0, scores_of(whole[:48]), 48)
    assert work.keep(held, 48, scores_of(whole[48:560]), 560)
    assert evaluations.get(made.id).done == 560
    assert evaluations.numbers(made.id)["rouge_l"].shape == (560, 1)
    assert [start for start, _ in evaluations.chunks(made.id)] == [0, 48]


def test_an_end_is_one_event_if_the_job_asked_for_it(mill: Mill, evaluations: Evaluations) -> None:
    job = ended_job(mill, ["a"], hooks="evaluation.finished")
    first = evaluations.create(job, "t", ROUGE)
    score(mill, [1.0], DONE)
    second = evaluations.create(job, "t", ROUGE)
    score(mill, [1.0], Ended({}, {}, error={"code": "made_up", "message": "no"}))
    assert evaluations.get(second.id).error == {"code": "made_up", "message": "no"}
    assert evaluations.get(second.id).status == "failed"
    events = {event.id: event for event in mill.store.hooks(job)}
    assert {event.type for event in events.values()} == {"evaluation.finished"}
    data = [
        json.loads(mill.client.hget(f"pm:hook:{name}", "data") or b"") for name in sorted(events)
    ]
    told = [
        {"id": first.id, "job": job, "status": "done", "gate": DONE.gate},
        {"id": second.id, "job": job, "status": "failed", "gate": None},
    ]
    assert sorted(data, key=json.dumps) == sorted(told, key=json.dumps)


def test_a_job_that_asked_for_other_events_gets_none(mill: Mill, evaluations: Evaluations) -> None:
    job = ended_job(mill, ["a"], hooks="job.started")
    evaluations.create(job, "t", ROUGE)
    score(mill, [1.0])
    assert {event.type for event in mill.store.hooks(job)} <= {"job.started"}


@pytest.mark.parametrize("way", ["deleted", "purged by a part that knows no evaluations"])
def test_a_job_takes_its_evaluations_with_it(
    mill: Mill, evaluations: Evaluations, work: EvaluationWork, way: str
) -> None:
    job = ended_job(mill, ["a", "b"], hooks="evaluation.finished")
    evaluations.create(job, "t", ROUGE, {0: ["x"]})
    score(mill, [1.0, 0.5])
    evaluations.create(job, "t", ROUGE)
    held = claim(work)
    assert work.keep(held, 0, scores_of([0.0]), 1)
    evaluations.create(job, "t", ROUGE)
    kept = {} if way == "deleted" else evaluation_keys(mill)
    mill.store.delete(job)
    for name, value in kept.items():
        mill.client.restore(name, 0, value)
    mill.tick()
    assert not work.keep(held, 1, scores_of([0.0]), 2)
    assert work.end(held, DONE) == (False, False)
    assert work.claim() is None
    left = {name.decode() for name in mill.client.scan_iter("pm:*")}
    assert not {name for name in left if "eval" in name}
