"""Keys and values of all layers in blocks, and where the rows of one step find theirs.

Knows tensors, not policy: `blocks.py` says which block is whose. A layer's cache is `[blocks x heads, size, width]`, so
that one gather of block rows gives `[row, head, position, width]` without a transpose.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

# What attention for one more group of rows costs, and reading blocks for a whole group at once: as much as reading so
# many tokens (measured; docs/log.md).
GROUP_TOKENS = 1024
SHARING_TOKENS = 2048
LEAD = 3  # rows whose block of this number is the same one share what precedes it too


@dataclass(frozen=True)
class LayerShape:
    """What a layer stores per token, `heads` keys of `key_width` and values of `value_width`, and how it reads them."""

    heads: int
    key_width: int
    value_width: int
    plain: bool = True  # neither a soft cap nor attention sinks
    scale: float = 1.0
    window: int | None = None


@dataclass
class LayerCache:
    shape: LayerShape
    keys: torch.Tensor  # (blocks * heads, size, key_width)
    values: torch.Tensor  # (blocks * heads, size, value_width)


@dataclass
class DecodeGroup:
    """Rows of one query token each and of similar length. What depends on a layer's kind is worked out once a step."""

    places: torch.Tensor  # (rows,) among the step's tokens
    common: torch.Tensor  # (shared blocks,) the leading blocks that all rows read; empty unless worth it
    table: torch.Tensor  # (rows, most blocks) the others, padded with block 0
    lengths: torch.Tensor  # (rows,) keys each row may see in `table`, its own included
    size: int  # tokens per block
    by_heads: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    by_kind: dict[tuple[int | None, int, torch.dtype], torch.Tensor] = field(default_factory=dict)
    whole: DecodeGroup | None = None

    def read_index(self, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows * heads * most blocks,) and (heads * shared blocks,) rows of a cache."""
        if heads not in self.by_heads:
            head = torch.arange(heads, device=self.table.device)[:, None]
            own = (self.table[:, None, :] * heads + head).reshape(-1)
            self.by_heads[heads] = own, (self.common[None, :] * heads + head).reshape(-1)
        return self.by_heads[heads]

    def unshared(self) -> DecodeGroup:
        """The same rows, each reading everything itself: layers with a sliding window need that."""
        if not len(self.common):
            return self
        if self.whole is None:
            rows = len(self.table)
            table = torch.cat([self.common.expand(rows, -1), self.table], 1)
            lengths = self.lengths + len(self.common) * self.size
            self.whole = DecodeGroup(self.places, self.common[:0], table, lengths, self.size)
        return self.whole

    def bias(self, window: int | None, heads: int, dtype: torch.dtype) -> torch.Tensor:
        """(rows * heads, 1, positions in `table`): 0 where a row may look, -inf elsewhere."""
        kind = window, heads, dtype
        if kind not in self.by_kind:
            position = torch.arange(self.table.shape[1] * self.size, device=self.table.device)
            hidden = position >= self.lengths[:, None]
            if window is not None:
                hidden |= position < self.lengths[:, None] - window
            zeros = torch.zeros(hidden.shape, dtype=dtype, device=self.table.device)
            self.by_kind[kind] = zeros.masked_fill_(hidden, -torch.inf)[:, None].repeat_interleave(heads, 0)
        return self.by_kind[kind]


@dataclass
class PrefillRow:
    """One row with several query tokens; `start` of its tokens were computed in earlier steps or for others."""

    first: int  # place of its first token among the step's
    count: int
    start: int
    table: torch.Tensor  # (blocks,)
    by_heads: dict[int, torch.Tensor] = field(default_factory=dict)
    by_kind: dict[tuple[int | None, int, torch.dtype], torch.Tensor] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.start + self.count

    def read_index(self, heads: int) -> torch.Tensor:
        """(heads * blocks,) rows of a cache."""
        if heads not in self.by_heads:
            head = torch.arange(heads, device=self.table.device)[:, None]
            self.by_heads[heads] = (self.table[None, :] * heads + head).reshape(-1)
        return self.by_heads[heads]

    def bias(self, window: int | None, shared: int, dtype: torch.dtype) -> torch.Tensor:
        """(shared * count, total): 0 where each of the step's tokens may look, -inf elsewhere, `shared` times over."""
        kind = window, shared, dtype
        if kind not in self.by_kind:
            asks = torch.arange(self.start, self.total, device=self.table.device)[:, None]
            sees = torch.arange(self.total, device=self.table.device)[None, :]
            hidden = sees > asks if window is None else (sees > asks) | (asks - sees >= window)
            zeros = torch.zeros(hidden.shape, dtype=dtype, device=self.table.device)
            self.by_kind[kind] = zeros.masked_fill_(hidden, -torch.inf).repeat(shared, 1)
        return self.by_kind[kind]


@dataclass
class StepLayout:
    """Where everything of a step is: what the attention callback needs, built once, used by every layer."""

    size: int  # tokens per block
    slots: torch.Tensor  # (tokens,) block * size + offset, where each token's key goes
    decode: list[DecodeGroup]
    prefill: list[PrefillRow]
    order: torch.Tensor | None  # (tokens,) where each is among those of `decode` and then `prefill`; None: right there
    caches: dict[int, LayerCache]
    by_heads: dict[int, torch.Tensor] = field(default_factory=dict)

    def write_index(self, heads: int) -> torch.Tensor:
        """(tokens * heads,) rows of a cache seen as (blocks * heads * size, width)."""
        if heads not in self.by_heads:
            block, offset = self.slots // self.size, self.slots % self.size
            head = torch.arange(heads, device=self.slots.device)
            self.by_heads[heads] = ((block[:, None] * heads + head) * self.size + offset[:, None]).reshape(-1)
        return self.by_heads[heads]


def allocate(
    shapes: dict[int, LayerShape], blocks: int, size: int, dtype: torch.dtype, device: torch.device
) -> dict[int, LayerCache]:
    """Caches for all layers. On a CPU memory is only really taken when a block is first used."""
    return {
        layer: LayerCache(
            shape,
            _zeros((blocks * shape.heads, size, shape.key_width), dtype, device),
            _zeros((blocks * shape.heads, size, shape.value_width), dtype, device),
        )
        for layer, shape in shapes.items()
    }


def _zeros(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # torch writes its zeros; numpy asks the system for pages that are zero when they are first touched.
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(shape)


def bytes_per_token(shapes: dict[int, LayerShape], dtype: torch.dtype) -> int:
    return sum(shape.heads * (shape.key_width + shape.value_width) for shape in shapes.values()) * dtype.itemsize


def lay_out(
    rows: list[tuple[list[int], int, int]], caches: dict[int, LayerCache], size: int, device: torch.device
) -> StepLayout:
    """The layout of a step that computes, one row after the other, (blocks, first token, how many tokens)."""
    slots = np.empty(sum(count for _, _, count in rows), dtype=np.int64)
    prefill: list[PrefillRow] = []
    single: list[_Single] = []
    place = 0
    for blocks, start, count in rows:
        if count == 1:
            slots[place] = blocks[start // size] * size + start % size
            single.append(_Single(start + 1, place, blocks))
        else:
            positions = np.arange(start, start + count)
            slots[place : place + count] = np.asarray(blocks)[positions // size] * size + positions % size
            prefill.append(PrefillRow(place, count, start, torch.tensor(blocks, device=device)))
        place += count
    decode = [
        _group(sorted(group, key=lambda row: row.place), shared, size, device)
        for family, shared in _families(single, size)
        for group in _split(sorted(family, key=lambda row: row.length), shared, size)
    ]
    places = [group.places for group in decode]
    places += [torch.arange(row.first, row.first + row.count, device=device) for row in prefill]
    order = torch.cat(places).argsort()
    in_order = bool((order[1:] > order[:-1]).all())
    return StepLayout(size, torch.from_numpy(slots).to(device), decode, prefill, None if in_order else order, caches)


class _Single(NamedTuple):
    """A row with one token in this step."""

    length: int
    place: int
    blocks: list[int]


def _families(rows: list[_Single], size: int) -> list[tuple[list[_Single], int]]:
    """(rows, how many leading blocks they share): those that share enough for it to pay, and all others with 0."""
    by_lead: dict[int, list[_Single]] = defaultdict(list)
    others: list[_Single] = []
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


def _shared(rows: list[_Single], size: int) -> int:
    """How many leading blocks all rows read whole: one with several holders is full, the last of a row is its own."""
    shortest = (min(row.length for row in rows) - 1) // size
    table = np.array([row.blocks[:shortest] for row in rows])
    return int((table == table[0]).all(0).cumprod().sum())


def _split(rows: list[_Single], shared: int, size: int) -> list[list[_Single]]:
    """Cut rows, sorted by length, into the groups that cost least: each pads its rows to the longest of them."""
    blocks, firsts = np.unique([-(-row.length // size) for row in rows], return_index=True)
    ends = np.append(firsts[1:], len(rows))
    fixed = GROUP_TOKENS + (SHARING_TOKENS if shared else 0)
    cheapest = [0]  # cost of all rows with fewer blocks than the n-th kind
    begins = []  # the kind with which the last group begins then
    for kind, end in enumerate(ends):
        costs = np.array(cheapest) + fixed + (end - firsts[: kind + 1]) * blocks[kind] * size
        begins.append(int(costs.argmin()))
        cheapest.append(int(costs.min()))
    groups = []
    kind = len(blocks)
    while kind > 0:
        begin = begins[kind - 1]
        groups.append(rows[firsts[begin] : ends[kind - 1]])
        kind = begin
    return groups[::-1]


def _group(rows: list[_Single], shared: int, size: int, device: torch.device) -> DecodeGroup:
    """`shared` leading blocks are the same for all rows."""
    lengths = np.array([row.length for row in rows])
    table = np.zeros((len(rows), -(-lengths.max() // size)), dtype=np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row.blocks)] = row.blocks[: table.shape[1]]
    return DecodeGroup(
        places=torch.tensor([row.place for row in rows], device=device),
        common=torch.from_numpy(table[0, :shared].copy()).to(device),
        table=torch.from_numpy(table[:, shared:].copy()).to(device),
        lengths=torch.from_numpy(lengths - shared * size).to(device),
        size=size,
    )
