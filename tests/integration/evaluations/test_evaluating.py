"""What comes of an evaluation: scores of items, summaries, signatures, gates, errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest

from bench.lib.jobs import job_fields
from common.store import keys
from common.store.evaluation_work import EvaluationWork
from common.store.evaluations import Asked, Evaluation, Evaluations
from common.store.jobs import new_job_id
from common.types import JsonObject
from evals.item import Item
from evals.metric import Metric
from evals.scorer import Scores, score_items
from tests.support.evaluated import ended_job, new_job, output, run_job, stored_scores
from tests.support.store import Mill
from worker.evaluating import Evaluating

Evaluate: TypeAlias = Callable[..., Evaluation]


@pytest.fixture
def evaluating(mill: Mill, work: EvaluationWork) -> Evaluating:
    return Evaluating(mill.client, work, threading.Event())


@pytest.fixture
def evaluate(evaluations: Evaluations, evaluating: Evaluating) -> Evaluate:
    """Evaluates a job of the tenant t."""

    def run(
        job: str,
        *metrics: str | JsonObject,
        references: dict[int, list[str]] | None = None,
        gate: list[JsonObject] | None = None,
    ) -> Evaluation:
        asked = Asked(list(metrics), gate or [])
        made = evaluations.create(job, "t", asked, references)
        while evaluating.evaluate_next():
            pass
        return evaluations.get(made.id)

    return run


def test_items_are_scored_against_their_references(
    mill: Mill, evaluations: Evaluations, evaluate: Evaluate
) -> None:
    outputs = ["the cat sat", "no", None, "a dog", ""]
    references: list[str | list[str] | None] = ["the cat sat", ["yes", "no"], "x", None, "y"]
    job = ended_job(mill, outputs, references)
    found = evaluate(job, "exact_match", "length_chars")
    assert (found.status, found.done, found.total, found.error) == ("done", 5, 5, None)
    assert found.started_at and found.finished_at
    assert stored_scores(mill.client, found.id, 5) == {
        "exact_match": [1.0, 1.0, None, None, 0.0],
        "length_chars": [11.0, 2.0, None, 5.0, 0.0],
    }
    match, length = found.summary["exact_match"], found.summary["length_chars"]
    assert (match["n"], match["nulls"], match["failed_items"]) == (3, 0, 1)
    assert (match["coverage"], match["value"]) == (0.75, 2 / 3)
    assert (length["n"], length["nulls"], length["failed_items"]) == (4, 0, 1)
    assert found.signatures == {} and found.gate is None


def test_references_that_are_given_replace_those_of_the_items(
    mill: Mill, evaluations: Evaluations, evaluate: Evaluate
) -> None:
    job = ended_job(mill, ["a"] * 100, ["a"] * 100)
    found = evaluate(job, "exact_match", references={0: ["b"], 99: ["b", "a"]})
    assert stored_scores(mill.client, found.id, 100) == {"exact_match": [0.0, *[None] * 98, 1.0]}
    assert found.summary["exact_match"]["coverage"] == 1.0


def test_a_column_may_be_the_reference(
    mill: Mill, evaluations: Evaluations, evaluate: Evaluate
) -> None:
    stage = mill.store.stage()
    stage.add({"vars": {"q": "?"}}, {"vars": {"gold": '["a", "b"]'}})
    stage.add({"vars": {"q": "?", "gold": "c"}})
    stage.add({"vars": {"q": "?"}})
    stage.prep = {"template": {"prompt": "{{q}}"}, "mapped": {"reference": "gold"}}
    stage.close()
    fields = job_fields("m", "d", 3, {"params": {}})
    job = mill.store.attach(stage, fields, job_id=new_job_id()).job_id
    run_job(mill, ["b", "b", "b"])
    found = evaluate(job, "exact_match")
    assert stored_scores(mill.client, found.id, 3) == {"exact_match": [1.0, 0.0, None]}


def test_probabilities_and_the_engines_word_on_json_are_taken_from_rows(
    mill: Mill, evaluations: Evaluations, evaluate: Evaluate
) -> None:
    tokens = [{"token": "a", "token_id": 1, "logprob": -2.0, "top": []}] * 2
    job = ended_job(
        mill,
        [
            output("[1]", logprobs=tokens, token_count=2, json_valid=False),
            [output("[1]", json_valid=True), output("[", json_valid=False)],
            output("{}", logprobs=tokens, token_count=3),  # of a token it is not known
        ],
    )
    found = evaluate(job, "perplexity", "json_valid", "length_tokens")
    scores = stored_scores(mill.client, found.id, 3)
    assert scores["perplexity"][0] == pytest.approx(7.389056)
    assert scores["perplexity"][1:] == [None, None]
    assert scores["json_valid"] == [0.0, 0.5, 1.0]
    assert scores["length_tokens"] == [2.0, 1.0, 3.0]
    assert found.summary["perplexity"]["nulls"] == 2


def test_bleus_tokenizer_is_that_of_most_references_unless_one_is_asked_for(
    mill: Mill, evaluate: Evaluate
) -> None:
    job = ended_job(mill, ["今天天气很好"] * 3, ["今天天气不好", "今天天气很好", "fine"])
    assert "tok:zh" in evaluate(job, "bleu").signatures["bleu"]
    asked = {"name": "bleu", "tokenize": "char"}
    assert "tok:char" in evaluate(job, "chrf", asked).signatures["bleu"]


def test_long_texts_are_stored_a_few_at_a_time(
    mill: Mill, evaluations: Evaluations, evaluate: Evaluate
) -> None:
    """What is read and scored at once is bounded by its characters."""
    long = "word " * 60_000
    job = ended_job(mill, [long] * 20 + ["a"] * 20, [long] * 20 + ["a"] * 20)
    found = evaluate(job, "length_chars")
    assert [start for start, _ in evaluations.chunks(found.id)][:3] == [0, 4, 8]
    assert found.summary["length_chars"]["n"] == 40
    lengths = stored_scores(mill.client, found.id, 22)["length_chars"]
    assert lengths[18:] == [300_000.0] * 2 + [1.0] * 2


def test_a_gate_is_judged(mill: Mill, evaluate: Evaluate) -> None:
    job = ended_job(mill, ["a"] * 30, ["a"] * 30)
    rules: list[JsonObject] = [
        {"metric": "exact_match", "min": 0.5},
        {"metric": "rouge_l", "min": 0.5},
    ]
    found = evaluate(job, "exact_match", gate=rules)
    assert found.gate == {
        "status": "undecided",
        "rules": [
            {"metric": "exact_match", "status": "passed", "reason": None},
            {"metric": "rouge_l", "status": "undecided", "reason": "no_metric"},
        ],
    }
    failed = evaluate(job, "exact_match", gate=[{"metric": "exact_match", "max": 0.5}])
    assert failed.gate and failed.gate["status"] == "failed"


def test_a_drop_is_measured_on_the_same_items_of_the_baseline(
    mill: Mill, evaluate: Evaluate
) -> None:
    baseline = ended_job(mill, ["a"] * 30 + ["b"] * 30, ["a"] * 60)
    same = ended_job(mill, ["a"] * 30 + ["b"] * 30, ["a"] * 60)
    worse = ended_job(mill, ["a"] * 10 + ["b"] * 50, ["a"] * 60)
    rule = {"metric": "exact_match", "baseline": baseline, "max_drop": 0.1}

    def judged(job: str, **more: object) -> list[object]:
        gate = evaluate(job, "exact_match", gate=[rule | more]).gate
        assert gate
        return [gate["status"], gate["rules"][0]["reason"]]

    assert judged(same) == ["undecided", "baseline_gone"]  # it has no scores yet
    evaluate(baseline, "exact_match")
    assert judged(same) == ["passed", None]
    assert judged(worse) == ["failed", None]
    assert judged(worse, baseline="job_0gone") == ["undecided", "baseline_gone"]


def test_anothers_job_is_no_baseline(
    mill: Mill, evaluations: Evaluations, evaluating: Evaluating, evaluate: Evaluate
) -> None:
    theirs = ended_job(mill, ["a"] * 30, ["a"] * 30, tenant="u")
    evaluations.create(theirs, "u", Asked(["exact_match"], []))
    assert evaluating.evaluate_next()
    mine = ended_job(mill, ["a"] * 30, ["a"] * 30)
    rule = {"metric": "exact_match", "baseline": theirs, "max_drop": 0.1}
    gate = evaluate(mine, "exact_match", gate=[rule]).gate
    assert gate and gate["rules"][0]["reason"] == "baseline_gone"


def test_what_is_damaged_is_a_failed_item_or_ends_the_evaluation_by_name(
    mill: Mill, evaluations: Evaluations, evaluate: Evaluate
) -> None:
    job = ended_job(mill, ["a", "b"], ["a", "b"])
    mill.client.hset(keys.job(job, "out"), "1", b"{nonsense")
    found = evaluate(job, "exact_match")
    assert found.summary["exact_match"]["failed_items"] == 1
    assert stored_scores(mill.client, found.id, 2) == {"exact_match": [1.0, None]}
    mill.client.hset(keys.job(job, "side"), "0", b"{nonsense")
    damaged = evaluate(job, "exact_match")
    assert damaged.status == "failed" and damaged.error
    assert damaged.error["code"] == "unreadable_record"


def test_a_metric_that_the_evaluator_does_not_know_ends_the_evaluation_by_name(
    mill: Mill, evaluate: Evaluate
) -> None:
    found = evaluate(ended_job(mill, ["a"]), "meteor")
    assert found.status == "failed" and found.error
    assert found.error["code"] == "unknown_metric" and "meteor" in found.error["message"]


def test_a_fault_of_one_evaluation_does_not_stop_the_next(
    mill: Mill, evaluations: Evaluations, evaluate: Evaluate
) -> None:
    job = ended_job(mill, ["a"], ["a"])
    first = evaluations.create(job, "t", Asked(["exact_match"], [{"metric": "exact_match"}]))
    second = evaluate(job, "exact_match")
    failed = evaluations.get(first.id)
    assert failed.status == "failed" and failed.error
    assert failed.error["code"] == "internal_error"
    assert second.status == "done"


def test_a_job_that_is_deleted_meanwhile_ends_its_evaluation_quietly(
    mill: Mill,
    evaluations: Evaluations,
    evaluating: Evaluating,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = ended_job(mill, ["a"] * 40, ["a"] * 40)
    evaluations.create(job, "t", Asked(["rouge_l"], []))

    def score(items: Sequence[Item], metrics: Sequence[Metric], tokenizer: str) -> Scores:
        mill.store.delete(job)
        return score_items(items, metrics, tokenizer)

    monkeypatch.setattr("worker.evaluating.score_items", score)
    assert evaluating.evaluate_next()
    assert not list(mill.client.scan_iter("pm:*eval*"))


def test_a_job_is_evaluated_when_it_ends(
    mill: Mill, evaluations: Evaluations, evaluating: Evaluating
) -> None:
    asked = Asked(["exact_match"], [])
    job = new_job(mill, ["a", "b"], evaluate=asked.to_json())
    run_job(mill, ["a", "a"])
    assert evaluating.evaluate_next()
    newest = evaluations.newest_done(job)
    assert newest and newest.origin == "job"
    assert newest.summary["exact_match"]["value"] == 0.5
