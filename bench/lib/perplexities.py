"""Perplexity over windows of text, and how two measurements of the same windows differ.

Numbers in, numbers out: which engine measured them is not known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evals.intervals import FEWEST, percentiles
from evals.resampling import resampled_sums
from evals.seeds import generator

RESAMPLES = 10_000


@dataclass(frozen=True)
class Window:
    """What a model says of a piece of text: of each token but the first its log-probability, and
    the token that is likeliest in its place."""

    logprobs: list[float]
    likeliest: list[int]

    @property
    def surprise(self) -> float:
        return -math.fsum(self.logprobs)


def perplexity(windows: list[Window]) -> float:
    """Of all tokens of the windows but each one's first."""
    tokens = sum(len(window.logprobs) for window in windows)
    return math.exp(math.fsum(window.surprise for window in windows) / tokens)


def ratio(windows: list[Window], baseline: list[Window]) -> dict[str, float | None]:
    """The perplexity of `windows` ÷ that of `baseline`, which are the same windows of text, with
    the interval of 95 % of a bootstrap over windows (None for fewer than 20).

    A fixed seed: the same windows give the same interval.
    """
    _check_same(windows, baseline)
    numbers = np.array(
        [
            (one.surprise - other.surprise, len(one.logprobs))
            for one, other in zip(windows, baseline, strict=True)
        ]
    )
    surprise, tokens = numbers.sum(axis=0)
    found: dict[str, float | None] = {"value": round(math.exp(surprise / tokens), 5)}
    between = None
    if len(windows) >= FEWEST:
        (sums,) = resampled_sums((numbers,), generator("perplexity"), RESAMPLES)
        between = percentiles(np.exp(sums[:, 0] / sums[:, 1]), len(windows))
    low, high = between or (None, None)
    for name, end in (("low", low), ("high", high)):
        found[name] = None if end is None else round(end, 5)
    return found


def agreement(windows: list[Window], baseline: list[Window]) -> float:
    """The share of tokens in whose place both find the same one likeliest."""
    _check_same(windows, baseline)
    same = [
        first == second
        for one, other in zip(windows, baseline, strict=True)
        for first, second in zip(one.likeliest, other.likeliest, strict=True)
    ]
    return sum(same) / len(same)


def _check_same(windows: list[Window], baseline: list[Window]) -> None:
    lengths = [[len(window.logprobs) for window in each] for each in (windows, baseline)]
    if not windows or lengths[0] != lengths[1]:
        raise ValueError(f"not the same windows: {len(windows)} against {len(baseline)}")
