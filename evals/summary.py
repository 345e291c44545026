"""Adds up the scores of a job's items, and sums them up for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from evals.arrays import Bools, Floats
from evals.intervals import interval
from evals.item import Item
from evals.metric import Metric
from evals.scorer import Scores
from evals.seeds import generator

BINS = 20


class Histogram(TypedDict):
    """`counts[i]` scores are from `edges[i]` to `edges[i + 1]`."""

    edges: list[float]
    counts: list[int]


class Summary(TypedDict):
    """What is told of one metric.

    `n` items have a score; `nulls` could have had one and have none; `failed_items` were never
    generated. `coverage` is n by all three; None if there is nothing to cover. `value` is the job's
    score, from `low` to `high` with 95 % confidence (None: fewer than 20 items); the rest is about
    the scores of items.
    """

    n: int
    nulls: int
    failed_items: int
    coverage: float | None
    value: float | None
    low: float | None
    high: float | None
    mean: float | None
    quartiles: list[float] | None
    histogram: Histogram | None


@dataclass(frozen=True)
class MetricScores:
    """One metric's numbers and scores of the items that have them."""

    numbers: Floats
    values: Floats


@dataclass(frozen=True)
class Marks:
    """Of items in their order: which have no output, and how many references that are not empty
    each has, NaN where it has none at all."""

    failed: Bools
    references: Floats

    @classmethod
    def of(cls, items: Sequence[Item]) -> Marks:
        counts = [len(item.comparable) if item.references else np.nan for item in items]
        failed = [not item.outputs for item in items]
        return cls(np.array(failed, np.bool_), np.array(counts, np.float64))


class Tally:
    """Collects the scores of up to `total` items, in arrays that are as large from the start."""

    def __init__(self, metrics: Sequence[Metric], total: int):
        self._metrics = {metric.name: metric for metric in metrics}
        self._numbers = {m.name: np.full((total, len(m.columns)), np.nan) for m in metrics}
        self._values = {metric.name: np.full(total, np.nan) for metric in metrics}
        self._failed = np.zeros(total, np.bool_)
        self._referenced = np.zeros(total, np.bool_)
        self._seen = np.zeros(total, np.bool_)
        self._reference_counts: set[int] = set()

    def add(self, first: int, items: Sequence[Item], scores: Scores) -> None:
        """Items that stand in the job from index `first` on; added twice they count once."""
        self.put(first, Marks.of(items), scores.numbers, scores.values)

    def put(
        self,
        first: int,
        marks: Marks,
        numbers: Mapping[str, Floats],
        values: Mapping[str, Floats],
    ) -> None:
        """The same of what was kept of the items: their marks, and by metric their numbers and
        scores."""
        part = slice(first, first + len(marks.failed))
        for name in self._metrics:
            self._numbers[name][part] = numbers[name]
            self._values[name][part] = values[name]
        self._failed[part] = marks.failed
        self._referenced[part] = ~np.isnan(marks.references)
        self._seen[part] = True
        compared = marks.references[(marks.references > 0) & ~marks.failed]
        self._reference_counts.update(map(int, np.unique(compared)))

    def numbers(self, name: str) -> Floats:
        """Of all items, in the job's order: an array of items by columns, with NaN."""
        return self._numbers[name]

    def scores(self, name: str) -> MetricScores:
        told = self._told(name)
        return MetricScores(self._numbers[name][told], self._values[name][told])

    def signature(self, name: str, tokenizer: str) -> str | None:
        """How the score was made, for metrics that have a convention for that."""
        make = self._metrics[name].signature
        if make is None:
            return None
        counts = self._reference_counts
        return make(str(min(counts, default=0)) if len(counts) < 2 else "var", tokenizer)

    def summary(self, name: str, evaluation: str) -> Summary:
        """`evaluation` is the id that seeds the interval."""
        metric, scores = self._metrics[name], self.scores(name)
        asked = self._seen & (self._referenced if metric.needs == "references" else True)
        every, failed = int(asked.sum()), int((asked & self._failed).sum())
        count = len(scores.values)
        value = low = high = None
        if count:
            total = float(metric.total(scores.numbers.sum(axis=0), float(count)))
            value = total if np.isfinite(total) else None
            between = interval(metric, scores.numbers, generator(evaluation, name))
            low, high = between or (None, None)
        return {
            "n": count,
            "nulls": every - failed - count,
            "failed_items": failed,
            "coverage": count / every if every else None,
            "value": value,
            "low": low,
            "high": high,
            "mean": float(scores.values.mean()) if count else None,
            "quartiles": np.quantile(scores.values, (0.25, 0.5, 0.75)).tolist() if count else None,
            "histogram": histogram(metric, scores.values),
        }

    def _told(self, name: str) -> Bools:
        return np.isfinite(self._values[name])


def histogram(metric: Metric, values: Floats) -> Histogram | None:
    """Of a metric with limits between these, else between the least and the greatest score. None
    without scores."""
    if len(values) == 0:
        return None
    if metric.low is not None and metric.high is not None:
        # Rounding may leave a perfect score a hair beyond the limit.
        values = values.clip(metric.low, metric.high)
        counts, edges = np.histogram(values, BINS, (metric.low, metric.high))
    else:
        counts, edges = np.histogram(values, BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
