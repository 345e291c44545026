"""Counts the n-grams that outputs share with their references, for many rows at once.

A row is an output and its references. All n-grams of a batch are sorted once, packed into whole
numbers: those of every order up to the highest then stand beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from evals.arrays import Bools, Ints

_BITS = 63  # of a whole number that is not negative


@dataclass(frozen=True)
class Shared:
    """What rows share in n-grams of one order.

    `matches[row, j]`: n-grams in common with reference j, each as often as in the text that has it
    less often; `clipped[row]`: the same with that reference, for each n-gram, that has it most
    often; `distinct[row]`: different n-grams of the output.
    """

    matches: Ints
    clipped: Ints
    distinct: Ints


class Ngrams:
    """The n-grams of a batch of texts, up to `order`.

    `symbols` are those of all texts, one after the other, none of them negative; `lengths`, `rows`
    and `slots` say of each text how many it has, whose row it belongs to, and whether it is the
    output (slot 0) or which reference (1, 2, …).
    """

    def __init__(self, symbols: Ints, lengths: Ints, rows: Ints, slots: Ints, order: int):
        self.count = int(rows.max(initial=-1)) + 1
        self.references = int(slots.max(initial=0))
        self.lengths = np.zeros((self.count, 1 + self.references), np.int64)
        self.lengths[rows, slots] = lengths
        self._half = (order + 1) // 2
        self._bits = (int(symbols.max(initial=0)) + 1).bit_length()
        self._shared: dict[int, Shared] = {}
        text = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        self._sort(self._packed(symbols, text, len(lengths)), rows[text], slots[text])

    @classmethod
    def of_words(cls, rows: Sequence[Sequence[Sequence[int]]], order: int) -> Ngrams:
        """Of texts whose words are numbered: `rows[i][0]` is an output, then come references."""
        numbers = chain.from_iterable(chain.from_iterable(rows))
        return cls(np.fromiter(numbers, np.int64), *_places(rows), order)

    @classmethod
    def of_characters(cls, rows: Sequence[Sequence[str]], order: int) -> Ngrams:
        """Of the characters of texts."""
        text = "".join("".join(row) for row in rows)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        # Numbered in their order, so that they need few bits.
        there = np.zeros(int(codes.max(initial=0)) + 1, np.bool_)
        there[codes] = True
        return cls((np.cumsum(there) - 1)[codes], *_places(rows), order)

    def totals(self, order: int) -> Ints:
        """How many n-grams the texts have, by row and slot."""
        return np.maximum(self.lengths - (order - 1), 0)

    def shared(self, order: int) -> Shared:
        if order not in self._shared:
            self._shared[order] = self._share(order)
        return self._shared[order]

    def _packed(self, symbols: Ints, text: npt.NDArray[np.int32], texts: int) -> tuple[Ints, Ints]:
        """The first and the second half of the n-gram that begins at each place, 0 for what is
        beyond the end of its text."""
        half, padding = self._half, 2 * self._half - 1
        place = np.arange(len(symbols))
        place += padding * text
        padded = np.zeros(len(symbols) + padding * texts, np.int64)
        padded[place] = symbols + 1
        stem = padded[: len(padded) - half + 1].copy()
        for further in range(1, half):
            stem <<= self._bits
            stem |= padded[further : len(padded) - half + 1 + further]
        return stem[place], stem[place + half]

    def _sort(self, halves: tuple[Ints, Ints], rows: Ints, slots: Ints) -> None:
        first, second = halves
        row_bits, slot_bits = self.count.bit_length(), self.references.bit_length()
        width, table = self._half * self._bits, None
        if row_bits + 2 * width + slot_bits > _BITS:
            table, ranks = np.unique(np.concatenate((first, second)), return_inverse=True)
            first, second = ranks[: len(first)], ranks[len(first) :]
            width = len(table).bit_length()
        key = rows << width
        key |= first
        key <<= width
        key |= second
        key <<= slot_bits
        key |= slots
        key.sort()
        self._slot = (key & ((1 << slot_bits) - 1)).astype(np.int16)
        key >>= slot_bits
        second = key & ((1 << width) - 1)
        key >>= width
        self._head = key  # row and first half
        self._row = key >> width
        first = key & ((1 << width) - 1)
        self._first, self._second = (
            (first, second) if table is None else (table[first], table[second])
        )

    @cached_property
    def _new_row(self) -> Bools:
        return _changes(self._row)

    @cached_property
    def _new_head(self) -> Bools:
        return _changes(self._head)

    def _share(self, order: int) -> Shared:
        if order <= self._half:
            begin = self._first >> ((self._half - order) * self._bits)
            starts = self._new_row | _changes(begin)
        else:
            begin = self._second >> ((2 * self._half - order) * self._bits)
            starts = self._new_head | _changes(begin)
        whole = (begin & ((1 << self._bits) - 1)) != 0  # n-grams that do not run over an end
        group = np.cumsum(starts) - 1
        row = self._row[starts]
        size = len(row)

        def counts(slot: int) -> Ints:
            return np.bincount(group[whole & (self._slot == slot)], minlength=size)

        def by_row(values: Ints) -> Ints:
            return np.bincount(row, values, minlength=self.count).astype(np.int64)

        ours, most = counts(0), np.zeros(size, np.int64)
        matches = np.zeros((self.count, self.references), np.int64)
        for slot in range(1, self.references + 1):
            theirs = counts(slot)
            matches[:, slot - 1] = by_row(np.minimum(ours, theirs))
            np.maximum(most, theirs, out=most)
        clipped = by_row(np.minimum(ours, most)) if self.references != 1 else matches[:, 0]
        return Shared(matches, clipped, by_row((ours > 0).astype(np.int64)))


def _changes(values: Ints) -> Bools:
    """Where a value differs from the one before it; the first does."""
    changed = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=changed[1:])
    return changed


def _places(rows: Sequence[Sequence[Sized]]) -> tuple[Ints, Ints, Ints]:
    """Length, row and slot of each text."""
    lengths = np.array([len(text) for row in rows for text in row], np.int64)
    sizes = [len(row) for row in rows]
    slots = np.array([slot for size in sizes for slot in range(size)], np.int64)
    return lengths, np.repeat(np.arange(len(rows)), sizes), slots
