"""The progress bar and charts, which the templates draw as SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from web.pages.job_state import ORDER
from web.schemas.answers import Counts

WIDTH, HEIGHT = 600, 140  # of a chart, in its own units
GAP = 0.15  # of a bar's share of the width


@dataclass(frozen=True)
class Segment:
    """The part of the bar for one state; `start` and `width` in percent."""

    state: str
    count: int
    start: float
    width: float


def segments(counts: Counts) -> list[Segment]:
    """The bar's segments, without empty ones."""
    found, start = [], 0.0
    for state in ORDER:
        count = getattr(counts, state)
        width = 100 * count / max(counts.total, 1)
        if count:
            found.append(Segment(state, count, round(start, 2), round(width, 2)))
        start += width
    return found


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    label: str  # what it stands for, with its number


@dataclass(frozen=True)
class Chart:
    """`top` is the number at the upper edge, `first` and `last` stand under the ends; `rows` are
    those of its table, under `heads`."""

    id: str
    title: str
    bars: Sequence[Bar]
    top: str
    first: str
    last: str
    heads: tuple[str, str]
    rows: Sequence[tuple[str, str]]


def chart(
    name: str, title: str, heads: tuple[str, str], labels: Sequence[str], values: Sequence[float]
) -> Chart:
    """A bar for each value, as high as its share of the highest."""
    highest = max([*values, 0.0])
    most = highest or 1.0
    share = WIDTH / max(1, len(values))
    shown = [f"{value:,.0f}" for value in values]
    bars = [
        Bar(
            round(place * share + share * GAP / 2, 2),
            round(HEIGHT - HEIGHT * value / most, 2),
            round(share * (1 - GAP), 2),
            round(HEIGHT * value / most, 2),
            f"{label}: {text} {heads[1].lower()}",
        )
        for place, (label, value, text) in enumerate(zip(labels, values, shown, strict=True))
    ]
    ends = (labels[0], labels[-1]) if labels else ("", "")
    rows = list(zip(labels, shown, strict=True))
    return Chart(name, title, bars, f"{highest:,.0f}", *ends, heads, rows)
