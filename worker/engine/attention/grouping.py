"""Which rows of a step attend together. Plain arithmetic over row lengths, no tensors.

Rows of one group are padded to the longest of them, and each group costs a fixed time, so rows are
cut into groups by length where that costs least. Decoding rows that begin with the same blocks form
groups of their own, which read those blocks once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from worker.engine.attention.backend import Row

# What attention costs, in tokens whose keys and values are read in the same time (measured;
# docs/log/engine.md).
GROUP_TOKENS = 1024  # for one more group of rows
SHARING_TOKENS = 2048  # for reading apart what a whole group shares
QUERIES = 8  # query tokens of a row that cost as much as what they read
LEAD = 3  # rows whose block of this number is the same one share what precedes it too
# Keys that a group of chunks may read at once; bounds the group's memory, since each row reads a
# common prefix too.
CHUNK_READS = 16_384


@dataclass(frozen=True, slots=True)
class Together:
    """Rows that attend together, all of which begin with the same `shared` blocks."""

    rows: list[Row]
    shared: int = 0


def divide(rows: list[Row], size: int, limit: float = math.inf) -> tuple[list[Together], list[Row]]:
    """The groups of a step's rows, and the rows that attend alone: chunks whose query tokens, times
    the keys they see, are more than `limit`."""
    alone = [row for row in rows if row.count > 1 and row.count * row.total > limit]
    chunks = [row for row in rows if row.count > 1 and row.count * row.total <= limit]
    groups = [
        Together(group, shared)
        for family, shared in families([row for row in rows if row.count == 1], size)
        for group in split(family, shared, size)
    ]
    groups += [
        Together(piece) for group in split(chunks, 0, size) for piece in pieces(group, CHUNK_READS)
    ]
    return groups, alone


def families(rows: list[Row], size: int) -> list[tuple[list[Row], int]]:
    """(rows, how many leading blocks they share): those that share enough for it to pay, and all
    others with 0."""
    by_lead: dict[int, list[Row]] = defaultdict(list)
    others: list[Row] = []
    for row in rows:
        (by_lead[row.blocks[LEAD]] if len(row.blocks) > LEAD else others).append(row)
    families = []
    for family in by_lead.values():
        shared = _shared(family, size) if len(family) > 1 else 0
        if (len(family) - 1) * shared * size >= SHARING_TOKENS:
            families.append((family, shared))
        else:
            others += family
    return families + [(others, 0)] * bool(others)


def _shared(rows: list[Row], size: int) -> int:
    """How many leading blocks all rows read whole: one with several holders is full, the last of a
    row is its own."""
    shortest = min(row.start for row in rows) // size
    table = np.array([row.blocks[:shortest] for row in rows])
    return int((table == table[0]).all(0).cumprod().sum())


def split(rows: list[Row], shared: int, size: int) -> list[list[Row]]:
    """Cut rows, by length, into the groups that cost least: each pads its rows to its longest."""
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: (row.blocks_seen(size), row.count))
    kinds, firsts = np.unique(
        [(row.blocks_seen(size), row.count) for row in rows], axis=0, return_index=True
    )
    ends = np.append(firsts[1:], len(rows))
    fixed = GROUP_TOKENS + (SHARING_TOKENS if shared else 0)
    cheapest = np.zeros(1)  # what all rows before the n-th kind cost
    begins: list[int] = []  # the kind with which the last group begins then
    for kind, (end, (blocks, _)) in enumerate(zip(ends, kinds, strict=True)):
        # If the group begins with each of the kinds so far.
        queries = np.maximum.accumulate(kinds[kind::-1, 1])[::-1]
        reads = (end - firsts[: kind + 1]) * blocks * size * (1 + (queries - 1) / QUERIES)
        costs = cheapest + fixed + reads
        begins.append(int(costs.argmin()))
        cheapest = np.append(cheapest, costs.min())
    groups = []
    kind = len(kinds)
    while kind > 0:
        begin = begins[kind - 1]
        groups.append(rows[firsts[begin] : ends[kind - 1]])
        kind = begin
    return groups[::-1]


def pieces(rows: list[Row], reads: int) -> list[list[Row]]:
    """Cut a group so that no more than one row reads more than so many keys."""
    most = max(1, reads // max(row.total for row in rows))
    return [rows[at : at + most] for at in range(0, len(rows), most)]
