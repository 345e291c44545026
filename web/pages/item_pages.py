"""The pages of a job's items: which items each has, and links to those around it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PAGE = 50  # items on a page
GAP = "…"


@dataclass(frozen=True)
class Page:
    """One page of items: those in [first, end). `links` are (page number, text); a gap has
    number 0."""

    number: int
    last: int
    first: int
    end: int
    links: list[tuple[int, str]]


def page(number: int, total: int) -> Page:
    """The page with this number, or the nearest one that exists."""
    last = max(1, -(-total // PAGE))
    number = min(max(number, 1), last)
    first = (number - 1) * PAGE
    return Page(number, last, first, min(first + PAGE, total), _links(number, last))


def _links(number: int, last: int) -> list[tuple[int, str]]:
    """The first, the last and the neighbouring pages, with gaps between."""
    shown = sorted({1, last, *range(max(1, number - 2), min(last, number + 2) + 1)})
    links: list[tuple[int, str]] = []
    for before, there in zip([0, *shown], shown, strict=False):
        if there - before > 1:
            links.append((0, GAP))
        links.append((there, str(there)))
    return links
