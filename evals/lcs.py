"""The length of the longest common subsequence of two texts' words, in bounded time.

The words of the shorter text are bits of one whole number, and each word of the longer one changes
all of them at once (Hyyrö, 2004). Where long texts share few words, chains of places that match are
followed instead (Hunt and Szymanski, 1977).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

# A step takes about a quarter of a microsecond, in which so many bits are changed.
_BITS_A_STEP = 3000
# Words of both texts, multiplied, up to which it is not worth while to look for a faster way.
_SMALL = 1 << 16
# Bits that are kept at once: 32 MB.
_ROOM = 1 << 28


class Budget:
    """Steps that are left for an item's texts."""

    def __init__(self, steps: int):
        self.steps = steps


def lcs_length(first: Sequence[int], second: Sequence[int], budget: Budget) -> int | None:
    """None, at no cost, if it would take more steps than the budget has left."""
    common, first, second = _without_ends(first, second)
    if len(first) * len(second) <= _SMALL:
        return common + _by_bits(first, second)
    in_first, in_second = Counter(first), Counter(second)
    short = [word for word in first if word in in_second]
    long = [word for word in second if word in in_first]
    if len(short) > len(long):
        short, long = long, short
    pairs = sum(count * in_second[word] for word, count in in_first.items())
    steps = len(long) * (1 + len(short) // _BITS_A_STEP)
    if min(pairs, steps) > budget.steps:
        return None
    budget.steps -= min(pairs, steps)
    if pairs <= steps // 2:
        return common + _by_chains(short, long)
    return common + _by_bits(short, long)


def _without_ends(
    first: Sequence[int], second: Sequence[int]
) -> tuple[int, Sequence[int], Sequence[int]]:
    """How many words both begin and end with, and what is between these."""
    least = min(len(first), len(second))
    begin = 0
    while begin < least and first[begin] == second[begin]:
        begin += 1
    end = 0
    while end < least - begin and first[-1 - end] == second[-1 - end]:
        end += 1
    return begin + end, first[begin : len(first) - end], second[begin : len(second) - end]


def _by_bits(short: Sequence[int], long: Sequence[int]) -> int:
    """Bit i of `rest` is 0 where the i-th word of `short` lengthens the longest subsequence."""
    places: dict[int, list[int]] = {}
    for place, word in enumerate(short):
        places.setdefault(word, []).append(place)
    bits: dict[int, int] = {}  # of each word, as far as there is room
    room = _ROOM
    rest = every = (1 << len(short)) - 1
    for word in long:
        if word not in places:
            continue
        those = bits.get(word)
        if those is None:
            those = _bits_at(places[word])
            if (room := room - len(short)) >= 0:
                bits[word] = those
        matching = rest & those
        rest = ((rest + matching) | (rest - matching)) & every
    return len(short) - rest.bit_count()


def _bits_at(places: list[int]) -> int:
    """The number whose bits at these ascending places are 1."""
    if len(places) == 1:
        return 1 << places[0]
    parts = bytearray(places[-1] // 8 + 1)
    for place in places:
        parts[place // 8] |= 1 << place % 8
    return int.from_bytes(parts, "little")


def _by_chains(short: list[int], long: list[int]) -> int:
    """`ends[k]` is the first place in `short` at which a common subsequence of k + 1 words can
    end."""
    places: dict[int, list[int]] = {}
    for place in reversed(range(len(short))):
        places.setdefault(short[place], []).append(place)
    ends: list[int] = []
    for word in long:
        for place in places[word]:
            at = bisect_left(ends, place)
            if at == len(ends):
                ends.append(place)
            else:
                ends[at] = place
    return len(ends)
