"""Rules that a job's scores pass, fail, or leave undecided."""

from __future__ import annotations

import pytest

from evals.gates import Reason, Rule, Status, Verdict, judge, overall
from evals.paired import Difference
from evals.registry import METRICS
from evals.summary import Summary

GOOD, LOWER, NEITHER = METRICS["rouge_l"], METRICS["perplexity"], METRICS["length_chars"]


def summary(low: float | None, high: float | None, coverage: float | None = 1.0) -> Summary:
    counts = {"n": 100, "nulls": 0, "failed_items": 0, "coverage": coverage}
    scores = {"value": 0.5, "low": low, "high": high, "mean": 0.5}
    return {**counts, **scores, "quartiles": None, "histogram": None}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("rule", "low", "high", "status", "reason"),
    [
        (Rule("rouge_l", min=0.4), 0.4, 0.6, "passed", None),
        (Rule("rouge_l", min=0.5), 0.4, 0.6, "undecided", "straddles"),
        (Rule("rouge_l", min=0.6), 0.4, 0.6, "undecided", "straddles"),
        (Rule("rouge_l", min=0.7), 0.4, 0.6, "failed", None),
        (Rule("rouge_l", max=0.6), 0.4, 0.6, "passed", None),
        (Rule("rouge_l", max=0.5), 0.4, 0.6, "undecided", "straddles"),
        (Rule("rouge_l", max=0.4), 0.4, 0.6, "undecided", "straddles"),
        (Rule("rouge_l", max=0.3), 0.4, 0.6, "failed", None),
        (Rule("rouge_l", min=0.4), None, None, "undecided", "too_few"),
        (Rule("rouge_l", min=0), 0.0, 0.1, "passed", None),
    ],
)
def test_bounds_are_compared_with_the_interval(
    rule: Rule, low: float | None, high: float | None, status: Status, reason: Reason | None
) -> None:
    assert judge(rule, GOOD, summary(low, high)) == Verdict("rouge_l", status, reason)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (-0.02, 0.01, "passed"),
        (-0.03, 0.01, "undecided"),
        (-0.04, -0.02, "undecided"),
        (-0.04, -0.03, "failed"),
        (0.1, 0.2, "passed"),
    ],
)
def test_a_drop_is_measured_in_the_better_direction(
    low: float, high: float, status: Status
) -> None:
    rule = Rule("rouge_l", baseline="job_b", max_drop=0.02)
    better = judge(rule, GOOD, summary(0.4, 0.6), Difference(99, 0.0, low, high, 0.5))
    assert better.status == status
    # For a metric that is better when lower, a rise of as much is as bad.
    worse = judge(rule, LOWER, summary(4, 6), Difference(99, 0.0, -high, -low, 0.5))
    assert worse.status == status


def test_what_cannot_be_judged_is_undecided_with_its_reason() -> None:
    drop = Rule("rouge_l", baseline="job_b", max_drop=0.02)
    fine, few = summary(0.4, 0.6), Difference(19, 0.0)
    told = [
        judge(Rule("rouge_9", min=0.1), None, None),
        judge(Rule("rouge_l", min=0.1), GOOD, None),
        judge(drop, NEITHER, fine, Difference(99, 0.0, 0.0, 0.0, 1.0)),
        judge(drop, GOOD, fine, None),
        judge(drop, GOOD, fine, few),
        judge(Rule("rouge_l", min=0.1), GOOD, summary(0.4, 0.6, 0.9499)),
        judge(Rule("rouge_l", min=0.9), GOOD, summary(None, None, None)),
    ]
    assert {verdict.status for verdict in told} == {"undecided"}
    assert [verdict.reason for verdict in told] == [
        *("no_metric", "no_metric", "no_metric", "baseline_gone", "too_few"),
        *("coverage", "coverage"),
    ]
    lenient = Rule("rouge_l", min=0.1, min_coverage=0.5)
    assert judge(lenient, GOOD, summary(0.4, 0.6, 0.5)).status == "passed"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"min": 0.1, "max": 0.2},
        {"baseline": "job_b"},
        {"max_drop": 0.1},
        {"min": 0.1, "baseline": "job_b"},
        {"baseline": "job_b", "max_drop": -0.1},
        {"baseline": "job_b", "max_drop": float("nan")},
        {"min": float("nan")},
        {"max": float("inf")},
        {"min": 0.1, "min_coverage": 1.1},
    ],
)
def test_a_rule_has_exactly_one_bound(fields: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=r"rule|baseline|max_drop|min_coverage|number"):
        Rule("rouge_l", **fields)  # type: ignore[arg-type]


def test_all_rules_together_fail_before_they_are_undecided() -> None:
    passed, failed = Verdict("a", "passed"), Verdict("b", "failed")
    undecided = Verdict("c", "undecided", "too_few")
    assert overall([passed, undecided, failed]) == "failed"
    assert overall([passed, undecided]) == "undecided"
    assert overall([passed]) == overall([]) == "passed"
