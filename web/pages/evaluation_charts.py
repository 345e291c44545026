"""What is drawn of one metric's summary: its value, its interval, and a histogram of the items'
scores. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.metric import Metric

WIDTH, HEIGHT = 200, 44  # of a histogram, in its own units
GAP = 0.12  # of a bar's share of the width
LEAST = 1.5  # height of a bar that stands for any item at all


@dataclass(frozen=True)
class Span:
    """An interval on the line of all scores that the metric may have; all in percent of it."""

    start: float
    width: float
    value: float


@dataclass(frozen=True)
class Bin:
    """A bar of the histogram. `query` is what an address says to have its items: the last bar has
    its end in it, so that it is open."""

    x: float
    y: float
    width: float
    height: float
    words: str
    count: int
    query: str


@dataclass(frozen=True)
class MetricView:
    """A metric of an evaluation as a page shows it; empty texts where there is nothing to say.

    `facts` are pairs of what and how much. `ends` are the first and the last score of the line and
    of the histogram.
    """

    name: str
    row_name: str  # of the scores of single items
    meaning: str
    better: str
    value: str
    interval: str
    span: Span | None
    ends: tuple[str, str]
    counted: str
    facts: Sequence[tuple[str, str]]
    bins: Sequence[Bin]


def metric_view(metric: Metric, summary: Mapping[str, Any]) -> MetricView:
    """`summary` is an `evals.summary.Summary` as it is stored."""
    histogram = summary.get("histogram") or {"edges": [], "counts": []}
    edges: list[float] = histogram["edges"]
    low, high = _line(metric, edges)
    return MetricView(
        name=metric.name,
        row_name=metric.row_name,
        meaning=metric.meaning,
        better=f"{metric.better} is better" if metric.better else "",
        value=score_text(summary.get("value"), metric),
        interval=_interval(metric, summary),
        span=_span(summary, low, high),
        ends=(score_text(low, metric), score_text(high, metric)) if edges else ("", ""),
        counted=_counted(metric, summary),
        facts=_facts(metric, summary),
        bins=_bins(metric, edges, histogram["counts"]),
    )


def score_text(score: float | None, metric: Metric) -> str:
    """A score with the digits that make sense of it: shares have three decimals, scores up to 100
    two, and others three digits."""
    if score is None:
        return "–"
    if metric.high == 1:
        return f"{score:.3f}"
    if metric.high == 100:
        return f"{score:.2f}"
    return f"{score:,.0f}" if abs(score) >= 100 else f"{score:.3g}"


FILTERS = {"metric_score": score_text}


def _line(metric: Metric, edges: Sequence[float]) -> tuple[float, float]:
    """From where to where scores are drawn: the metric's limits, else those of the scores."""
    if metric.low is not None and metric.high is not None:
        return metric.low, metric.high
    return (edges[0], edges[-1]) if edges else (0.0, 1.0)


def _interval(metric: Metric, summary: Mapping[str, Any]) -> str:
    low, high = summary.get("low"), summary.get("high")
    if low is None or high is None:
        return "no interval: fewer than 20 items" if summary.get("n") else ""
    return f"{score_text(low, metric)} to {score_text(high, metric)}"


def _span(summary: Mapping[str, Any], low: float, high: float) -> Span | None:
    value, first, last = summary.get("value"), summary.get("low"), summary.get("high")
    if value is None or high <= low:
        return None
    first, last = (value, value) if first is None or last is None else (first, last)
    at, start, end = (_percent(each, low, high) for each in (value, first, last))
    return Span(start, round(end - start, 2), at)


def _percent(score: float, low: float, high: float) -> float:
    return round(100 * min(max((score - low) / (high - low), 0.0), 1.0), 2)


def _counted(metric: Metric, summary: Mapping[str, Any]) -> str:
    """How many items have a score, and why others have none."""
    found = summary["n"] or summary["nulls"] or summary["failed_items"]
    if metric.needs == "references" and not found:
        return "no item has a reference"
    parts = [f"{summary['n']:,} scored"]
    parts += [f"{summary['nulls']:,} without a score"] if summary["nulls"] else []
    parts += [f"{summary['failed_items']:,} failed"] if summary["failed_items"] else []
    coverage = summary.get("coverage")
    if coverage is not None and coverage < 1:
        parts.append(f"coverage {100 * coverage:.1f}\N{NO-BREAK SPACE}%")
    return " · ".join(parts)


def _facts(metric: Metric, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """About the scores of single items."""
    mean, quartiles = summary.get("mean"), summary.get("quartiles")
    facts = []
    if mean is not None and not metric.mean:
        facts.append((f"mean of {metric.row_name}", score_text(mean, metric)))
    if quartiles and not metric.binary:
        facts.append(("quartiles", " · ".join(score_text(each, metric) for each in quartiles)))
    return facts


def _bins(metric: Metric, edges: Sequence[float], counts: Sequence[int]) -> list[Bin]:
    highest, share = max([*counts, 1]), WIDTH / max(1, len(counts))
    found = []
    for place, count in enumerate(counts):
        low, high = edges[place], edges[place + 1]
        height = max(HEIGHT * count / highest, LEAST) if count else 0.0
        found.append(
            Bin(
                x=round(place * share + share * GAP / 2, 2),
                y=round(HEIGHT - height, 1),
                width=round(share * (1 - GAP), 2),
                height=round(height, 1),
                words=f"{score_text(low, metric)} to {score_text(high, metric)}",
                count=count,
                query=_query(
                    metric,
                    low if place or place + 1 == len(counts) else None,
                    high if place + 1 < len(counts) else None,
                ),
            )
        )
    return found


def _query(metric: Metric, least: float | None, below: float | None) -> str:
    """With all digits, so that the list has the very items that were counted."""
    limits = (("least", least), ("below", below))
    given = [f"&{name}={limit!r}" for name, limit in limits if limit is not None]
    return "".join([f"?metric={metric.name}", *given])
