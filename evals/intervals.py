"""Intervals of 95 % for a job's score: percentile bootstrap, and Wilson's for shares."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from evals.arrays import Floats
from evals.metric import Metric
from evals.resampling import resampled_sums

FEWEST = 20  # items; of fewer there is no interval
RESAMPLES = 1000
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.975)


def interval(
    metric: Metric, numbers: Floats, draws: np.random.Generator
) -> tuple[float, float] | None:
    """Of items' numbers, none of them NaN. None if there are too few, or if resamples have no
    score."""
    count = len(numbers)
    if count < FEWEST:
        return None
    if metric.binary and np.isin(numbers, (0.0, 1.0)).all():
        return wilson(int(numbers.sum()), count)
    counted = np.column_stack((numbers, np.ones(count)))
    (sums,) = resampled_sums((counted,), draws, RESAMPLES)
    return percentiles(metric.total(sums[:, :-1], sums[:, -1:]), count)


def wilson(successes: int, count: int) -> tuple[float, float]:
    """The interval of a share (Wilson, 1927)."""
    share, square = successes / count, _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = math.sqrt(share * (1 - share) / count + square / (4 * count**2)) * _Z
    half /= 1 + square / count
    return max(0.0, middle - half), min(1.0, middle + half)


def percentiles(found: Floats, count: int) -> tuple[float, float] | None:
    """The middle 95 % of scores that were resampled from `count` items.

    A little more than that if these are few, since resamples vary less than samples do (Hesterberg,
    2015: the expanded percentile interval). Both ends are among the scores, so that changing all
    signs changes those of the interval and nothing else. None if a score is not a number.
    """
    if not np.isfinite(found).all():
        return None
    outside = _NORMAL.cdf(-math.sqrt(count / (count - 1)) * _student(count - 1))
    place = max(0, round((len(found) + 1) * outside) - 1)
    ordered = np.sort(found)
    return float(ordered[place]), float(ordered[-1 - place])


def _student(freedom: int) -> float:
    """Between ± this are 95 % of Student's t distribution: the expansion for 19 degrees of freedom
    and more, right to four places."""
    z, f = _Z, float(freedom)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / f + second / f**2 + third / f**3
