"""Means of ratings on a scale, and their intervals."""

from __future__ import annotations

import numpy as np

from evals.scales import means
from evals.seeds import generator


def test_means_are_over_ratings_and_a_job_without_any_has_none() -> None:
    found = means(
        np.array([[5.0, 0, 0], [6, 3, 0]]), np.array([[1.0, 0, 0], [2, 1, 0]]), generator("s")
    )
    assert found.means == [11 / 3, 3.0, None]
    assert found.intervals == [None, None, None]


def test_an_interval_holds_the_mean_and_narrows_with_rows() -> None:
    draws = np.random.default_rng(1)
    widths = []
    for rows in (30, 300):
        values = draws.integers(1, 6, (rows, 2)).astype(np.float64)
        found = means(values, np.ones((rows, 2)), generator("s", str(rows)))
        for mean, interval in zip(found.means, found.intervals, strict=True):
            assert mean is not None and interval is not None and interval[0] < mean < interval[1]
            widths.append(interval[1] - interval[0])
    assert max(widths[2:]) < min(widths[:2])


def test_rows_not_ratings_are_resampled() -> None:
    """Ten ratings of each row that say the same make the interval no narrower."""
    values = np.random.default_rng(2).integers(1, 6, (50, 1)).astype(np.float64)
    once, often = (
        means(values * times, np.full((50, 1), times), generator("s")) for times in (1.0, 10.0)
    )
    assert once == often


def test_equal_ratings_have_an_interval_of_no_width() -> None:
    found = means(np.full((20, 1), 4.0), np.ones((20, 1)), generator("s"))
    assert (found.means, found.intervals) == ([4.0], [(4.0, 4.0)])


def test_a_job_that_a_resample_may_miss_has_no_interval() -> None:
    counts = np.zeros((20, 1))
    counts[0] = 1
    assert means(counts * 3, counts, generator("s")).intervals == [None]
