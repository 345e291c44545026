"""Compares two jobs on the items that both have: difference, interval, p-value, wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evals.arrays import Floats, Signs
from evals.intervals import FEWEST, percentiles
from evals.metric import Metric
from evals.resampling import resampled_sums
from evals.seeds import generator

RESAMPLES = 10_000
# Differences that are equal but for rounding are equal.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Difference:
    """How a job's score differs from the baseline's: positive is greater, not better.

    `n` items are scored in both. `low`, `high` and `p` are None if these are fewer than 20. `wins`
    are items that the job does better, `losses` worse; None for metrics without a better
    direction.
    """

    n: int
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None


def difference(metric: Metric, baseline: Floats, job: Floats, ids: Sequence[str]) -> Difference:
    """Of both jobs' numbers, items by columns, row by row the same item; rows with NaN do not
    count.

    `ids` are those of the two jobs, in any order. The p-value is the share of resamples whose
    difference is as far from the one found as that is from none.
    """
    told = ~(np.isnan(baseline).any(axis=1) | np.isnan(job).any(axis=1))
    baseline, job = baseline[told], job[told]
    count = len(job)
    if count == 0:
        return Difference(0, None)
    found = _total(metric, job, float(count)) - _total(metric, baseline, float(count))
    if not np.isfinite(found):
        return Difference(count, None)
    wins, ties, losses = _compared(metric, baseline, job)
    if count < FEWEST:
        return Difference(count, found, wins=wins, ties=ties, losses=losses)
    ones = np.ones((count, 1))
    before, after, counts = resampled_sums(
        (baseline, job, ones), generator(*sorted(ids), metric.name), RESAMPLES
    )
    drawn = metric.total(after, counts) - metric.total(before, counts)
    between = percentiles(drawn, count)
    if between is None:
        return Difference(count, found, wins=wins, ties=ties, losses=losses)
    far = np.abs(drawn - found) >= abs(found) * (1 - _ROUNDING)
    p = (1 + int(far.sum())) / (RESAMPLES + 1)
    return Difference(count, found, *between, p, wins, ties, losses)


def _total(metric: Metric, numbers: Floats, count: float) -> float:
    return float(metric.total(numbers.sum(axis=0), count))


def _compared(
    metric: Metric, baseline: Floats, job: Floats
) -> tuple[int, int, int] | tuple[None, None, None]:
    if metric.better is None:
        return None, None, None
    found = verdicts(metric, baseline, job)
    wins, losses = int((found > 0).sum()), int((found < 0).sum())
    return wins, len(found) - wins - losses, losses


def verdicts(metric: Metric, baseline: Floats, job: Floats) -> Signs:
    """Of each item 1 where the job does better than the baseline, -1 where it does worse, else 0.

    Items with NaN are 0, and so are all of a metric without a better direction.
    """
    if metric.better is None:
        return np.zeros(len(job), np.int8)
    before, after = metric.of_rows(baseline), metric.of_rows(job)
    tied = np.isclose(before, after, rtol=_ROUNDING, atol=0)
    found = (after > before).astype(np.int8) - (after < before).astype(np.int8)
    found[tied] = 0
    return found if metric.better == "higher" else -found


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """P-values corrected for how many there are (Holm, 1979). None stays None and does not
    count."""
    told = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    least = 0.0
    for rank, (p, name) in enumerate(told):
        least = max(least, min(1.0, p * (len(told) - rank)))
        corrected[name] = least
    return corrected
