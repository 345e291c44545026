"""Gates: rules that a job's scores pass, fail, or leave undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evals.metric import Metric
from evals.paired import Difference
from evals.summary import Summary

Status = Literal["passed", "failed", "undecided"]
Reason = Literal["too_few", "coverage", "baseline_gone", "no_metric", "straddles"]

MIN_COVERAGE = 0.95


@dataclass(frozen=True)
class Rule:
    """Of one metric, exactly one of: at least `min`; at most `max`; no worse than the job
    `baseline` by more than `max_drop`.

    Raises ValueError for any other.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    baseline: str | None = None
    max_drop: float | None = None
    min_coverage: float = MIN_COVERAGE

    def __post_init__(self) -> None:
        bounds = [each for each in (self.min, self.max, self.max_drop) if each is not None]
        if len(bounds) != 1:
            raise ValueError("a rule has exactly one of min, max and max_drop")
        if not math.isfinite(bounds[0]):
            raise ValueError("a rule's bound is a finite number")
        if (self.baseline is None) != (self.max_drop is None):
            raise ValueError("baseline and max_drop belong together")
        if self.max_drop is not None and self.max_drop < 0:
            raise ValueError("max_drop is not negative")
        if not 0 <= self.min_coverage <= 1:
            raise ValueError("min_coverage is between 0 and 1")


@dataclass(frozen=True)
class Verdict:
    metric: str
    status: Status
    reason: Reason | None = None


def judge(
    rule: Rule, metric: Metric | None, summary: Summary | None, drop: Difference | None = None
) -> Verdict:
    """What a rule says of a job.

    `summary` is that of the rule's metric, None if it was not computed; `drop` is how the job
    differs from the baseline, None if that is gone or was not scored. A rule about a drop is
    undecided for a metric without a better direction.
    """
    if metric is None or summary is None:
        return Verdict(rule.metric, "undecided", "no_metric")
    if rule.max_drop is not None and metric.better is None:
        return Verdict(rule.metric, "undecided", "no_metric")
    if rule.max_drop is not None and drop is None:
        return Verdict(rule.metric, "undecided", "baseline_gone")
    if summary["coverage"] is None or summary["coverage"] < rule.min_coverage:
        return Verdict(rule.metric, "undecided", "coverage")
    low, high = _range(rule, metric, summary, drop)
    if low is None or high is None:
        return Verdict(rule.metric, "undecided", "too_few")
    if rule.min is not None:
        # At least so much: as at most, with all signs changed.
        low, high, most = -high, -low, -rule.min
    else:
        most = rule.max if rule.max is not None else rule.max_drop or 0.0
    if high <= most:
        return Verdict(rule.metric, "passed")
    if low > most:
        return Verdict(rule.metric, "failed")
    return Verdict(rule.metric, "undecided", "straddles")


def _range(
    rule: Rule, metric: Metric, summary: Summary, drop: Difference | None
) -> tuple[float | None, float | None]:
    """Between what the score is, or by how much it is worse than the baseline's."""
    if rule.max_drop is None or drop is None:
        return summary["low"], summary["high"]
    if drop.low is None or drop.high is None or metric.better == "lower":
        return drop.low, drop.high
    return -drop.high, -drop.low


def overall(verdicts: Sequence[Verdict]) -> Status:
    """Failed if a rule is, else undecided if one is, else passed."""
    found = {verdict.status for verdict in verdicts}
    if "failed" in found:
        return "failed"
    return "undecided" if "undecided" in found else "passed"
