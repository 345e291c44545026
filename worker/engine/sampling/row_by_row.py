"""Draws tokens on a CPU where the compiled kernels do not. Each row is drawn by itself, so that
nothing beside it can change a bit of what is drawn for it. `sampler.py` says what is drawn.

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
SORTED = 1024  # tokens; of more, only those are sorted among which top_p or typical_p ends
SUMMED = 256  # neighbouring tokens whose weights are summed together
WEIGHED = 16  # rows that are weighed at once: with more, weights would not stay in the caches


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

    @property
    def mass(self) -> float:
        return float(self.weights.sum(dtype=np.float64))

    def draw(self, number: float) -> int:
        """The token where `number` falls in their distribution."""
        if len(self.weights) <= SUMMED:
            sums = self.weights.cumsum(dtype=np.float64)
            return int(self.ids[_place(sums, number * sums[-1])])
        masses = np.add.reduceat(self.weights, np.arange(0, len(self.weights), SUMMED))
        return int(self.ids[_drawn(self.weights, masses.cumsum(dtype=np.float64), number)])


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
            for row, weights, sums in zip(some, *_weigh(some, values), strict=True):
                tokens[row.number] = _from_all(row, weights, sums, tokens[row.number])
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
        kept = kept.at_least(_floor(kept.weights, row.top_p * kept.mass))
    return _from_rest(row, kept, 1.0)


def _from_all(row: Row, weights: np.ndarray, sums: np.ndarray, likeliest: int) -> int:
    """The token of a row whose `weights` are known, with their running sums, SUMMED at a time."""
    if row.top_p < 1:
        largest, total = float(weights[likeliest]), float(sums[-1])
        return _from_rest(row, _share(weights, row.top_p * total, total, largest), largest)
    if row.typical_p < 1:
        return _from_rest(row, Kept(np.arange(len(weights)), weights), 1.0)
    return _drawn(weights, sums, row.uniform)


def _from_rest(row: Row, kept: Kept, largest: float) -> int:
    """The token of a row that was filtered by top_k and top_p; `largest` is its largest weight."""
    if row.min_p:
        kept = kept.at_least(row.min_p * largest)
    if row.typical_p < 1:
        kept = _typical(kept, row.typical_p)
    return kept.draw(row.uniform)


def _weigh(rows: list[Row], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of the rows' tokens (rows, vocabulary) float32, and their running sums,
    SUMMED at a time, float64.

    Rows are filled up to whole tiles with tokens of no chance.
    """
    vocabulary = values.shape[1]
    scaled = np.empty((len(rows), -(-vocabulary // SUMMED) * SUMMED), dtype=np.float32)
    scaled[:, vocabulary:] = -np.inf
    for place, row in enumerate(rows):
        np.divide(values[row.number], row.temperature, out=scaled[place, :vocabulary])
    weights = torch.from_numpy(scaled).softmax(-1)
    masses = weights.view(len(rows), -1, SUMMED).sum(-1).numpy()
    return weights.numpy(), masses.cumsum(1, dtype=np.float64)


def _cut(values: np.ndarray, count: int) -> float:
    """A value that at least `count` of `values` reach, and not many more."""
    width = len(values) // TILE
    if len(values) <= SMALL or count > width:
        return -math.inf
    largest = values[: width * TILE].reshape(TILE, width).max(0)
    return float(np.partition(largest, width - count)[width - count])


def _share(weights: np.ndarray, needed: float, total: float, largest: float) -> Kept:
    """top_p of a whole row: the likeliest tokens that hold the mass `needed` of the `total`."""
    for cut in _cuts(weights, needed, total, largest):
        ids = np.flatnonzero(weights >= cut)
        kept = Kept(ids, weights[ids])
        if kept.mass >= needed:
            break
    return kept.at_least(_floor(kept.weights, needed))


def _cuts(weights: np.ndarray, needed: float, total: float, largest: float) -> Iterator[float]:
    """Weights to look for top_p's tokens above, until these have enough mass."""
    if CANDIDATES * largest >= needed:
        yield _cut(weights, CANDIDATES)
    # If none below has more than its part of what may be lacking, all below have no more than that.
    yield (total - needed) / len(weights)
    yield 0.0


def _floor(weights: np.ndarray, needed: float) -> float:
    """The largest weight such that those that reach it have the mass `needed`."""
    if len(weights) > SORTED:
        places, needed = _narrowed(-(weights.view(np.int32) >> 19), weights, needed)
        weights = weights[places]
    falling = np.sort(weights)[::-1]
    return float(falling[_reaching(falling.cumsum(dtype=np.float64), needed)])


def _narrowed(buckets: np.ndarray, masses: np.ndarray, needed: float) -> tuple[np.ndarray, float]:
    """Adds up `masses` bucket by bucket, in order: the places of the bucket with which they reach
    `needed`, and how much of that this bucket has to bring.

    Buckets are the first 13 bits of numbers that are not negative: these are in the order of their
    bits.
    """
    least = int(buckets.min())
    sums = np.bincount(buckets - least, masses).cumsum()
    reached = _reaching(sums, needed)
    before = float(sums[reached - 1]) if reached else 0.0
    return np.flatnonzero(buckets == least + reached), needed - before


def _reaching(sums: np.ndarray, needed: float) -> int:
    """The first place whose running sum reaches `needed`; never one that adds nothing."""
    return int(min(sums.searchsorted(needed), sums.searchsorted(sums[-1])))


def _typical(kept: Kept, share: float) -> Kept:
    """The tokens whose surprise is nearest to the entropy, as many as hold this share of the
    mass."""
    p = kept.weights / kept.mass
    surprise = -np.log(p)
    distance = np.abs(surprise - float(np.nansum(surprise * p, dtype=np.float64)))
    places = np.flatnonzero(distance <= _farthest(distance, p, share))
    return Kept(kept.ids[places], kept.weights[places])


def _farthest(distance: np.ndarray, p: np.ndarray, share: float) -> float:
    """The least distance within which tokens have this share of the mass."""
    if len(distance) > SORTED:
        places, share = _narrowed(distance.view(np.int32) >> 19, p, share)
        distance, p = distance[places], p[places]
    order = distance.argsort(kind="stable")
    return float(distance[order[_reaching(p[order].cumsum(dtype=np.float64), share)]])


def _drawn(weights: np.ndarray, sums: np.ndarray, number: float) -> int:
    """The place where `number` falls in a distribution; `sums` are the running sums of its weights,
    SUMMED at a time, so that only so many are added up one by one."""
    target = number * float(sums[-1])
    tile = _place(sums, target)
    inside = weights[tile * SUMMED : (tile + 1) * SUMMED].cumsum(dtype=np.float64)
    before = float(sums[tile - 1]) if tile else 0.0
    return tile * SUMMED + _place(inside, target - before)


def _place(sums: np.ndarray, target: float) -> int:
    """The first place where the running sum exceeds `target`; never one that adds nothing."""
    # Rounding may put the target at the very end: take the last place with any weight then.
    return int(min(sums.searchsorted(target, side="right"), sums.searchsorted(sums[-1])))
