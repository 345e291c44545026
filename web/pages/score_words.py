"""How the pages show scores, differences and p-values, and intervals as small drawings. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from web.schemas.comparisons import ComparedMetric, Difference

WIDTH = 120  # of a drawing, in its own units
MARGIN = 4


def score(value: float | None) -> str:
    """A score, or a value of another kind, with as many places as say something."""
    return "–" if value is None else f"{value:,.{_places(value)}f}"


def apart(value: float | None, beside: float | None = None) -> str:
    """A difference, with its sign, and with as many places as the score that it stands beside."""
    if value is None:
        return "–"
    text = f"{value:+,.{_places(value, beside or 0.0)}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else "0"


def _places(*values: float) -> int:
    if all(value.is_integer() for value in values):
        return 0
    most = max(map(abs, values))
    return 4 if most < 2 else 2 if most < 1000 else 0


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


@dataclass(frozen=True)
class Interval:
    """A difference with its interval beside a line at 0, in units of `WIDTH`."""

    low: float
    width: float
    value: float
    verdict: str  # better, worse, or unclear
    label: str


def interval(metric: ComparedMetric, difference: Difference, widest: float) -> Interval | None:
    """`widest` is how far the drawing reaches to either side; None without an interval."""
    if difference.value is None or difference.low is None or difference.high is None:
        return None
    low, value, high = (
        _at(each, widest) for each in (difference.low, difference.value, difference.high)
    )
    verdict = _verdict(metric, difference.low, difference.high)
    label = f"{apart(difference.value)}, from {apart(difference.low)} to {apart(difference.high)}"
    return Interval(low, round(max(high - low, 1.0), 2), value, verdict, f"{label}: {verdict}")


def reach(metric: ComparedMetric) -> float:
    """How far a drawing of this metric's differences reaches."""
    return max(map(abs, _ends(metric)), default=0.0) or 1.0


def _ends(metric: ComparedMetric) -> Iterable[float]:
    for job in metric.jobs:
        found = job.difference
        if found and found.low is not None and found.high is not None:
            yield from (found.low, found.high)


def _at(value: float, widest: float) -> float:
    half = WIDTH / 2
    return round(half + value / widest * (half - MARGIN), 2)


def _verdict(metric: ComparedMetric, low: float, high: float) -> str:
    if low <= 0 <= high:
        return "unclear"
    if metric.better is None:
        return "greater" if low > 0 else "less"
    return "better" if (low > 0) == (metric.better == "higher") else "worse"


FILTERS = {"score": score, "apart": apart, "p_value": p_value, "interval": interval, "reach": reach}
