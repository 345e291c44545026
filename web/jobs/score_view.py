"""Which items of a job have a score in a range, and in which order their scores are. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from common.store.score_chunk import Floats

Places: TypeAlias = Iterator[tuple[int, int]]  # (cursor, index) of items
ScoreOrder: TypeAlias = Literal["score", "-score"]


@dataclass(frozen=True)
class ScoreChoice:
    """Items whose score of `metric` (as the scores of single items are called) is `least` or more
    and under `below`; with either of the two, items without a score are left out. `order`: the
    lowest scores first, or the highest; None: the list is ordered by something else."""

    metric: str
    least: float | None = None
    below: float | None = None
    order: ScoreOrder | None = None


class ScoreView:
    """The items that a choice means. `scores` are those of all items by index, NaN where there is
    none."""

    def __init__(self, scores: Floats, choice: ScoreChoice):
        self.inside = _inside(scores, choice)
        self.is_ranked = choice.order is not None
        if self.is_ranked:
            ranked = _ranked(scores, backwards=choice.order == "-score")
            self._ranked = ranked[self.inside[ranked]]

    def has(self, index: int) -> bool:
        return index < len(self.inside) and bool(self.inside[index])

    def ranked(self, after: int, backwards: bool = False) -> Places:
        """The items in the order of their scores, behind the place `after`; from there to the
        first if `backwards`."""
        last = len(self._ranked)
        places = range(min(after, last) - 1, -1, -1) if backwards else range(after + 1, last)
        return ((place, int(self._ranked[place])) for place in places)

    def place_of(self, index: int) -> int:
        """The item's place in that order; -1 where it is not in it."""
        found = np.flatnonzero(self._ranked == index)
        return int(found[0]) if len(found) else -1


def _inside(scores: Floats, choice: ScoreChoice) -> npt.NDArray[np.bool_]:
    inside = np.ones(len(scores), np.bool_)
    with np.errstate(invalid="ignore"):
        if choice.least is not None:
            inside &= scores >= choice.least
        if choice.below is not None:
            inside &= scores < choice.below
    return inside


def _ranked(scores: Floats, backwards: bool) -> npt.NDArray[np.int64]:
    """Indices by score; of equal scores the first item comes first, and those without come last."""
    return np.argsort(-scores if backwards else scores, kind="stable")
