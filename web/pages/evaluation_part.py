"""The part of a job's page about how good its outputs are: what is drawn of an evaluation, its gate
in words, and what is still to come. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from common.store.evaluations import Evaluation
from evals.registry import METRICS
from web.pages.evaluation_charts import MetricView, metric_view, score_text
from web.pages.filters import unix_time

REASONS = {
    "too_few": "fewer than 20 items have a score, which is too few for an interval",
    "coverage": "too small a part of the items has a score",
    "baseline_gone": "the baseline was deleted, or has no such scores",
    "no_metric": "there is no such score, or neither direction of it is better",
    "straddles": "the interval has the limit within it: more items would tell",
}


@dataclass(frozen=True)
class RuleView:
    """A rule of a gate: what it asks for, and what came of it."""

    asked: str
    status: str  # passed, failed, undecided
    reason: str


@dataclass(frozen=True)
class EvaluationPart:
    """An evaluation as a page shows it. `signatures` are pairs of a metric and how its score was
    made; `percent` is how much of it is done."""

    id: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    metrics: Sequence[MetricView]
    gate: str  # its status; empty without one
    rules: Sequence[RuleView]
    signatures: Sequence[tuple[str, str]]
    names: str
    done: int
    total: int
    percent: int
    error: str


def evaluation_part(found: Evaluation, *, names_jobs: bool = True) -> EvaluationPart:
    """`names_jobs` is False for readers who may see no other job: a gate's baseline is one."""
    gate = found.gate or {}
    names = [entry if isinstance(entry, str) else entry["name"] for entry in found.asked.metrics]
    return EvaluationPart(
        id=found.id,
        status=found.status,
        created_at=unix_time(found.created_at / 1000),
        finished_at=None if found.finished_at is None else unix_time(found.finished_at / 1000),
        metrics=[
            metric_view(METRICS[name], found.summary[name])
            for name in names
            if name in METRICS and name in found.summary
        ],
        gate=gate.get("status", ""),
        rules=[
            RuleView(
                _asked(rule, names_jobs),
                verdict["status"],
                REASONS.get(verdict.get("reason") or "", ""),
            )
            for rule, verdict in zip(found.asked.gate, gate.get("rules", ()), strict=False)
        ],
        signatures=[(name, found.signatures[name]) for name in names if name in found.signatures],
        names=", ".join(names),
        done=found.done,
        total=found.total,
        percent=100 * found.done // max(1, found.total),
        error="" if found.error is None else found.error["message"],
    )


def _asked(rule: Mapping[str, Any], names_jobs: bool) -> str:
    """A rule in words."""
    name = rule["metric"]

    def text(score: float) -> str:
        return score_text(score, METRICS[name]) if name in METRICS else str(score)

    if rule.get("min") is not None:
        return f"{name} is at least {text(rule['min'])}"
    if rule.get("max") is not None:
        return f"{name} is at most {text(rule['max'])}"
    baseline = rule["baseline"] if names_jobs else "another job"
    return f"{name} is at most {text(rule['max_drop'])} worse than that of {baseline}"
