"""Krippendorff's alpha: how far raters agree beyond chance (Krippendorff, 2011)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evals.arrays import Floats, Ints

Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Agreement:
    """`alpha` is 1 if all agree, 0 if they agree as by chance, below 0 if less. None with a
    `reason`: no unit has two ratings, or all ratings are the same."""

    alpha: float | None
    reason: Literal["no_pairs", "no_variation"] | None = None


def agreement(ratings: Sequence[Sequence[float | None]], level: Level) -> Agreement:
    """`ratings[rater][unit]`, None where a rater did not rate a unit. Nominal ratings are any
    numbers that are equal for equal ratings."""
    table = np.array(
        [[np.nan if value is None else value for value in row] for row in ratings], np.float64
    )
    if table.size == 0:
        return Agreement(None, "no_pairs")
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    if table.shape[1] == 0:
        return Agreement(None, "no_pairs")
    values, codes = np.unique(table[~np.isnan(table)], return_inverse=True)
    if len(values) == 1:
        return Agreement(None, "no_variation")
    units = np.nonzero(~np.isnan(table))[1]
    counts = np.zeros((table.shape[1], len(values)), np.int64)  # ratings of a unit, by value
    np.add.at(counts, (units, codes), 1)
    apart = _distances(values, counts.sum(axis=0), level)
    coincidences = _coincidences(counts)
    totals = coincidences.sum(axis=0)
    observed = (coincidences * apart).sum()
    expected = (np.outer(totals, totals) * apart).sum() / (totals.sum() - 1)
    return Agreement(float(1 - observed / expected))


def _coincidences(counts: Ints) -> Floats:
    """How often two ratings of a unit are these two values; each unit counts as many pairs as it
    has ratings."""
    weights = 1.0 / (counts.sum(axis=1) - 1)
    pairs = (counts * weights[:, None]).T @ counts
    return pairs - np.diag((counts * weights[:, None]).sum(axis=0))


def _distances(values: Floats, totals: Ints, level: Level) -> Floats:
    """The square of how far two values are apart."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return (values[:, None] - values) ** 2
    # How many ratings are between two values, half of those of each included.
    middle = np.cumsum(totals) - totals / 2
    return (middle[:, None] - middle) ** 2
