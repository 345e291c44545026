"""The segments of the progress bar, which the templates draw as SVG. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from web.pages.job_state import ORDER
from web.schemas.answers import Counts


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
