"""Compares what jobs scored, metric by metric, on the rows that are scored in all of them. Knows
no store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from common.store.comparison_rows import Array
from common.store.evaluations import Evaluation
from common.types import JsonObject
from evals.arrays import Floats
from evals.matching import Matching
from evals.metric import Metric
from evals.paired import difference, holm, verdicts
from evals.registry import METRICS


class Scores(NamedTuple):
    """`metrics` are as they are told; `verdicts` are those of metrics with a better direction, rows
    by jobs without the baseline."""

    metrics: list[JsonObject]
    verdicts: dict[str, Array]


class Comparable(NamedTuple):
    """`left_out` says of other metrics why they are not compared."""

    names: list[str]
    left_out: list[JsonObject]


def comparable(evaluations: Sequence[Evaluation]) -> Comparable:
    """The metrics that all of these have, made in the same way, in the baseline's order."""
    every = dict.fromkeys(name for each in evaluations for name in each.summary)
    found = Comparable([], [])
    for name in (name for name in every if name in METRICS):
        if not all(name in each.summary for each in evaluations):
            found.left_out.append({"metric": name, "reason": "not_in_all"})
        elif len({_convention(each.signatures.get(name, "")) for each in evaluations}) > 1:
            found.left_out.append({"metric": name, "reason": "signatures_differ"})
        else:
            found.names.append(name)
    return found


def _convention(signature: str) -> str:
    """A signature without the number of references, which may differ by the items that failed."""
    return "|".join(part for part in signature.split("|") if not part.startswith("nrefs:"))


def compare_scores(
    names: Sequence[str],
    jobs: Sequence[str],
    numbers: Sequence[Mapping[str, Floats]],
    matching: Matching,
    go_on: Callable[[], None],
) -> Scores:
    """`numbers` are those of all items of each job, by metric; `go_on` is called before each
    difference."""
    found = Scores([], {})
    for name in names:
        metric = METRICS[name]
        each = [
            numbers[place][name][matching.rows[:, place]]  # rows by columns
            for place in range(len(jobs))
        ]
        found.metrics.append(_told(metric, jobs, each, matching.order, go_on))
        if metric.better:
            pairs = [verdicts(metric, each[0], other) for other in each[1:]]
            found.verdicts[name] = np.stack(pairs, axis=1)
    _correct(found.metrics)
    return found


def _told(
    metric: Metric,
    jobs: Sequence[str],
    numbers: Sequence[Floats],
    order: Array,
    go_on: Callable[[], None],
) -> JsonObject:
    """What is told of a metric. Rows are taken in an order that does not depend on which job is
    first, so that neither do the resamples."""
    scored = ~np.any([np.isnan(each).any(axis=1) for each in numbers], axis=0)
    order = order[scored[order]]
    baseline, *others = [each[order] for each in numbers]
    told: list[JsonObject] = [{"value": _value(metric, baseline), "difference": None}]
    for name, job in zip(jobs[1:], others, strict=True):
        go_on()
        apart = asdict(difference(metric, baseline, job, [jobs[0], name]))
        apart.pop("n")
        told.append({"value": _value(metric, job), "difference": apart})
    return {"metric": metric.name, "better": metric.better, "n": len(order), "jobs": told}


def _value(metric: Metric, numbers: Floats) -> float | None:
    if len(numbers) == 0:
        return None
    found = float(metric.total(numbers.sum(axis=0), float(len(numbers))))
    return found if np.isfinite(found) else None


def _correct(metrics: Sequence[JsonObject]) -> None:
    """Add `p_holm` to each difference: corrected for how many there are."""
    apart = {
        f"{place} {each['metric']}": job["difference"]
        for each in metrics
        for place, job in enumerate(each["jobs"])
        if job["difference"]
    }
    corrected = holm({name: found["p"] for name, found in apart.items()})
    for name, found in apart.items():
        found["p_holm"] = corrected[name]
