"""The bootstrap: sums of numbers over resampled items, a block of resamples at a time."""

from __future__ import annotations

import numpy as np

from evals.arrays import Floats

# More items than this are dealt at random into so many groups, and groups are resampled: intervals
# are as wide, but for a hundredth, and the time no longer depends on how many items there are.
GROUPS = 4096
_DRAWS = 1 << 16  # at once


def resampled_sums(
    numbers: tuple[Floats, ...], draws: np.random.Generator, resamples: int
) -> tuple[Floats, ...]:
    """For each array of items by columns, an array of resamples by columns: sums over as many items
    as there are, drawn with replacement. All arrays have the same items, and each resample draws
    the same of all."""
    count = len(numbers[0])
    if count > GROUPS:
        numbers, count = _grouped(numbers, draws), GROUPS
    sums = tuple(np.empty((resamples, array.shape[1])) for array in numbers)
    block = max(1, _DRAWS // count)
    for begin in range(0, resamples, block):
        size = min(block, resamples - begin)
        drawn = draws.integers(0, count, (size, count))
        drawn += np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        weights = times.astype(np.float64)
        for array, into in zip(numbers, sums, strict=True):
            into[begin : begin + size] = weights @ array
    return sums


def _grouped(numbers: tuple[Floats, ...], draws: np.random.Generator) -> tuple[Floats, ...]:
    order = draws.permutation(len(numbers[0]))
    starts = np.arange(GROUPS) * len(order) // GROUPS
    return tuple(np.add.reduceat(array[order], starts, axis=0) for array in numbers)
