"""Numbers as pictures: the shape of the progress bar. Pure; the templates draw it as SVG."""

from __future__ import annotations

from dataclasses import dataclass

from web.schemas.answers import Counts

# From left to right: what is done and stays, then what moves. Pending is the trough that is left.
ORDER = ("succeeded", "failed", "expired", "cancelled", "running")


@dataclass(frozen=True)
class Stretch:
    """One colour of the bar; `start` and `width` in percent."""

    state: str
    count: int
    start: float
    width: float


def stretches(counts: Counts) -> list[Stretch]:
    """The bar's stretches, those of no width left out."""
    found, start = [], 0.0
    for state in ORDER:
        count = getattr(counts, state)
        width = 100 * count / max(counts.total, 1)
        if count:
            found.append(Stretch(state, count, round(start, 2), round(width, 2)))
        start += width
    return found


def progress_label(counts: Counts) -> str:
    """The bar in words, for who cannot see it."""
    parts = [
        f"{getattr(counts, state):,} {state}"
        for state in (*ORDER, "pending")
        if getattr(counts, state)
    ]
    return f"{counts.total:,} items: {', '.join(parts)}"
