"""The segments of the progress bar, which the templates draw as SVG. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from web.schemas.answers import Counts

# From left to right: states that are final, then running. Pending items are the empty rest.
ORDER = ("succeeded", "failed", "expired", "cancelled", "running")


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


def progress_label(counts: Counts) -> str:
    """The bar in words, for screen readers."""
    parts = [
        f"{getattr(counts, state):,} {state}"
        for state in (*ORDER, "pending")
        if getattr(counts, state)
    ]
    return f"{counts.total:,} items: {', '.join(parts)}"
