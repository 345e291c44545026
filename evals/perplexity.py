"""Perplexity: how surprised the model was by its own tokens, from the run's log-probabilities."""

from __future__ import annotations

import math

import numpy as np

from evals.arrays import Floats
from evals.rows import Rows

COLUMNS = ("surprise", "tokens")


def measure(rows: Rows) -> Floats:
    """Sum of the negated log-probabilities, and how many there are. NaN where they are not
    known."""
    numbers = np.full((len(rows), 2), np.nan)
    for row, output in enumerate(rows.outputs):
        if output.logprob is not None and math.isfinite(output.logprob) and output.token_count:
            numbers[row] = -output.logprob, output.token_count
    return numbers


def score(sums: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.exp(sums[..., 0] / sums[..., 1])
