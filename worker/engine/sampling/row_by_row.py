"""Draws tokens on a CPU. Each row is drawn by itself, so that nothing beside it can change a bit of
what is drawn for it. `sampler.py` says what is drawn.

Only rows whose whole mass is needed are weighed as a whole, several in one call of torch's softmax,
whose threads take whole rows. Other rows keep few tokens. These are found without sorting the row:
a cut below them is taken from the largest values of its tiles, and only what reaches the cut is
sorted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from worker.engine.sampling.knobs import Knobs

# Tokens whose largest value is found together. They lie apart, so that it takes a few operations on
# whole vectors.
TILE = 64
SMALL = 4096  # tokens; sorting so many takes less than looking for a cut
CANDIDATES = 64  # of the likeliest tokens, among which top_p is tried first
SUMMED = 256  # neighbouring tokens whose weights are summed together
WEIGHED = 32  # rows that are weighed at once: with more, weights would not stay in the caches


@dataclass(slots=True)
class Kept:
    """The tokens of a row that are left: their ids in order, and their weights, which may have any
    sum."""

    ids: np.ndarray
    weights: np.ndarray

    def at_least(self, floor: float) -> Kept:
        """Those whose weight reaches `floor`."""
        places = np.flatnonzero(self.weights >= floor)
        return Kept(self.ids[places], self.weights[places])

    def draw(self, number: float) -> int:
        """The token where `number` falls in their distribution."""
        return int(self.ids[_place(self.weights, number)[0]])


@dataclass(slots=True)
class Row:
    """A row to draw from: its settings, and its random number."""

    number: int  # which row it is
    temperature: float
    top_k: int  # 0 where it drops nothing
    top_p: float
    min_p: float
    typical_p: float
    uniform: float

    @property
    def needs_all(self) -> bool:
        """Whether the whole mass has to be known."""
        return not self.top_k and (self.top_p < 1 or not self.min_p)


def sample(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> np.ndarray:
    """`sampler.sample` for logits in the host's memory."""
    values = logits.numpy()
    tokens = values.argmax(1)
    with np.errstate(all="ignore"):  # what overflows or is no number has no chance
        rows = list(_rows(values, tokens, knobs, uniform))
        for row in rows:
            if not row.needs_all:
                tokens[row.number] = _from_likeliest(row, values[row.number], tokens[row.number])
        whole = [row for row in rows if row.needs_all]
        for begin in range(0, len(whole), WEIGHED):
            some = whole[begin : begin + WEIGHED]
            for row, weights, masses in zip(some, *_weigh(some, values), strict=True):
                tokens[row.number] = _from_all(row, weights, masses)
    return tokens


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """The ids of the `count` largest of a row of values, the largest first, the lowest id first
    among equals."""
    ids = np.flatnonzero(values >= _cut(values, max(count, 1)))
    found: np.ndarray = ids[np.argsort(-values[ids], kind="stable")[:count]]
    return found


def _rows(
    values: np.ndarray, tokens: np.ndarray, knobs: Knobs, uniform: np.ndarray
) -> Iterator[Row]:
    """The rows that are not greedy, without those whose likeliest token has no finite logit: there
    is nothing to draw from."""
    tops = values[np.arange(len(values)), tokens] / knobs.temperature
    top_k = np.where(knobs.limits_k(values.shape[1]), knobs.top_k, 0).astype(np.int64)
    arrays = (knobs.temperature, top_k, knobs.top_p, knobs.min_p, knobs.typical_p, uniform)
    settings = zip(*(array.tolist() for array in arrays), strict=True)
    finite = np.isfinite(tops.astype(np.float32)).tolist()
    for number, (is_finite, (temperature, *others)) in enumerate(
        zip(finite, settings, strict=True)
    ):
        if temperature > 0 and is_finite:
            yield Row(number, temperature, *others)


def _from_likeliest(row: Row, logits: np.ndarray, likeliest: int) -> int:
    """The token of a row that keeps its likeliest ones, by their number or their share."""
    top = logits[likeliest]
    if row.top_k:
        ids = np.flatnonzero(logits >= _cut(logits, row.top_k))
        among, at = logits[ids], len(ids) - row.top_k
        ids = ids[among >= np.partition(among, at)[at]]
    else:
        ids = np.flatnonzero(logits >= float(top) + row.temperature * math.log(row.min_p))
    kept = Kept(ids, np.exp((logits[ids] - top) / row.temperature))
    if row.top_p < 1:
        falling, sums = _summed(kept.weights)
        kept = kept.at_least(falling[_reaching(sums, row.top_p * sums[-1])])
    return _from_rest(row, kept, 1.0)


def _from_all(row: Row, weights: np.ndarray, masses: np.ndarray) -> int:
    """The token of a row whose `weights` (tiles, SUMMED) are known, with their sums (tiles,)."""
    flat = weights.reshape(-1)
    if row.top_p < 1:
        kept = _share(flat, row.top_p, float(masses.sum(dtype=np.float64)))
        return _from_rest(row, kept, float(flat.max()))
    if row.typical_p < 1:
        return _from_rest(row, Kept(np.arange(len(flat)), flat), 1.0)
    # In two levels, so that only one tile is summed token by token.
    tile, rest = _place(masses, row.uniform)
    inside = weights[tile]
    share = min(max(rest / float(inside.sum(dtype=np.float64)), 0.0), 1.0)
    return tile * SUMMED + _place(inside, share)[0]


def _from_rest(row: Row, kept: Kept, largest: float) -> int:
    """The token of a row that was filtered by top_k and top_p; `largest` is its largest weight."""
    if row.min_p:
        kept = kept.at_least(row.min_p * largest)
    if row.typical_p < 1:
        kept = _typical(kept, row.typical_p)
    return kept.draw(row.uniform)


def _weigh(rows: list[Row], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of the rows' tokens (rows, tiles, SUMMED), and the sums of the tiles.

    Rows are filled up to whole tiles with tokens of no chance.
    """
    vocabulary = values.shape[1]
    scaled = np.empty((len(rows), -(-vocabulary // SUMMED) * SUMMED), dtype=np.float32)
    scaled[:, vocabulary:] = -np.inf
    for place, row in enumerate(rows):
        np.divide(values[row.number], row.temperature, out=scaled[place, :vocabulary])
    weights = torch.from_numpy(scaled).softmax(-1).view(len(rows), -1, SUMMED)
    return weights.numpy(), weights.sum(-1).numpy()


def _cut(values: np.ndarray, count: int) -> float:
    """A value that at least `count` of `values` reach, and not many more."""
    width = len(values) // TILE
    if len(values) <= SMALL or count > width:
        return -math.inf
    largest = values[: width * TILE].reshape(TILE, width).max(0)
    return float(np.partition(largest, width - count)[width - count])


def _share(weights: np.ndarray, share: float, total: float) -> Kept:
    """top_p of a whole row."""
    for cut in _cuts(weights, (1 - share) * total):
        ids = np.flatnonzero(weights >= cut)
        kept = Kept(ids, weights[ids])
        falling, sums = _summed(kept.weights)
        if sums[-1] >= share * total:
            break
    return kept.at_least(falling[_reaching(sums, share * total)])


def _cuts(weights: np.ndarray, rest: float) -> Iterator[float]:
    """Weights to look for top_p's tokens above, until these have enough mass. `rest` is the mass
    that they may lack."""
    yield _cut(weights, CANDIDATES)
    # If none below has more than its part of the rest, all below have no more than the rest.
    yield rest / len(weights)
    yield 0.0


def _summed(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights, the largest first, and their running sums."""
    falling = np.sort(weights)[::-1]
    return falling, falling.cumsum(dtype=np.float64)


def _reaching(sums: np.ndarray, needed: float) -> int:
    """The first place whose running sum reaches `needed`; never one that adds nothing."""
    return int(min(sums.searchsorted(needed), sums.searchsorted(sums[-1])))


def _typical(kept: Kept, share: float) -> Kept:
    """The tokens whose surprise is nearest to the entropy, as many as hold this share of the
    mass."""
    p = kept.weights / float(kept.weights.sum(dtype=np.float64))
    surprise = -np.log(p)
    entropy = float(np.nansum(surprise * p, dtype=np.float64))
    distance = np.abs(surprise - entropy)
    order = distance.argsort(kind="stable")
    sums = p[order].cumsum(dtype=np.float64)
    last = min(int(sums.searchsorted(share)), len(order) - 1)
    places = np.flatnonzero(distance <= distance[order[last]])
    return Kept(kept.ids[places], kept.weights[places])


def _place(weights: np.ndarray, share: float) -> tuple[int, float]:
    """The first place where the running sum exceeds `share` of the whole, never a place of weight
    0; and by how much what comes before it falls short of that share."""
    sums = weights.cumsum(dtype=np.float64)
    target = share * sums[-1]
    # Rounding may put the target at the very end: take the last place with any weight then.
    place = int(min(sums.searchsorted(target, side="right"), sums.searchsorted(sums[-1])))
    return place, float(target - (sums[place - 1] if place else 0.0))
