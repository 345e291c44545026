"""Ratings on a scale: the mean of each job, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.arrays import Floats
from evals.intervals import FEWEST, percentiles
from evals.resampling import resampled_sums

RESAMPLES = 1000


@dataclass(frozen=True)
class Means:
    """By job: the mean of its ratings (None: it has none), and the interval of 95 % (None: fewer
    than 20 rows)."""

    means: list[float | None]
    intervals: list[tuple[float, float] | None]


def means(sums: Floats, counts: Floats, draws: np.random.Generator) -> Means:
    """`sums[row, job]` adds up the ratings of a job's output for a row, of which there are
    `counts[row, job]`. Rows, not ratings, are resampled: ratings of the same texts are not
    independent."""
    rows, jobs = sums.shape
    total, votes = sums.sum(axis=0), counts.sum(axis=0)
    found = [float(total[job] / votes[job]) if votes[job] else None for job in range(jobs)]
    intervals: list[tuple[float, float] | None] = [None] * jobs
    if rows >= FEWEST:
        drawn_sums, drawn_counts = resampled_sums((sums, counts), draws, RESAMPLES)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = drawn_sums / drawn_counts
        intervals = [percentiles(drawn[:, job], rows) for job in range(jobs)]
    return Means(found, intervals)
