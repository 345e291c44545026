"""Keys and values of all layers in blocks, and where the rows of one step find theirs.

Knows tensors, not policy: `blocks.py` says which block is whose. A layer's cache is `[blocks x
heads, size, width]`, so that one gather of block rows gives `[row, head, position, width]` without
a transpose.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch

# What attention costs, as much as reading so many tokens (docs/log/engine.md): for one more
# group of rows, for reading what a whole group shares apart, and how many query tokens of a row
# cost as much as what they read.
GROUP_TOKENS = 1024
SHARING_TOKENS = 2048
QUERIES = 8
LEAD = 3  # rows whose block of this number is the same one share what precedes it too
# Query tokens times what they see, past which a row's scores are better never stored, by the fused
# kernel.
LONG = 400_000
LONG_EXACT = 16_000  # in float32
# Keys that a group of chunks may read at once, each row those of a common prefix too: what bounds
# its memory.
CHUNK_READS = 16_384


@dataclass(frozen=True)
class LayerShape:
    """What a layer stores per token, `heads` keys of `key_width` and values of `value_width`, and
    how it reads them."""

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
class Group:
    """Rows that attend together: padded to the same numbers of query tokens and of blocks. What
    depends on a layer's kind is worked out once a step."""

    # (rows * queries,) query tokens among the step's; a row's last again where it has fewer.
    places: torch.Tensor
    queries: int
    # (shared blocks,) the leading blocks that all rows read; empty unless worth it.
    common: torch.Tensor
    table: torch.Tensor  # (rows, most blocks) the others, padded with block 0
    first: torch.Tensor  # (rows,) where in `table` each row's first query token is
    size: int  # tokens per block
    by_heads: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    by_kind: dict[tuple[int | None, torch.dtype], torch.Tensor] = field(default_factory=dict)
    whole: Group | None = None

    def read_index(self, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows * heads * most blocks,) and (heads * shared blocks,) rows of a cache."""
        if heads not in self.by_heads:
            head = torch.arange(heads, device=self.table.device)[:, None]
            own = (self.table[:, None, :] * heads + head).reshape(-1)
            self.by_heads[heads] = own, (self.common[None, :] * heads + head).reshape(-1)
        return self.by_heads[heads]

    def unshared(self) -> Group:
        """The same rows, each reading everything itself: layers with a sliding window need that."""
        if not len(self.common):
            return self
        if self.whole is None:
            table = torch.cat([self.common.expand(len(self.table), -1), self.table], 1)
            first = self.first + len(self.common) * self.size
            self.whole = Group(self.places, self.queries, self.common[:0], table, first, self.size)
        return self.whole

    def bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """(rows, queries, positions in `table`): 0 where a query token may look, -inf elsewhere."""
        kind = window, dtype
        if kind not in self.by_kind:
            device = self.table.device
            asks = (self.first[:, None] + torch.arange(self.queries, device=device))[..., None]
            self.by_kind[kind] = _bias(
                asks, torch.arange(self.table.shape[1] * self.size, device=device), *kind
            )
        return self.by_kind[kind]


@dataclass
class LongRow:
    """A row with so many query tokens that it attends by itself; `start` of its tokens were
    computed before."""

    first: int  # place of its first token among the step's
    count: int
    start: int
    table: torch.Tensor  # (blocks,)
    by_heads: dict[int, torch.Tensor] = field(default_factory=dict)
    by_kind: dict[tuple[int | None, torch.dtype], torch.Tensor] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.start + self.count

    def read_index(self, heads: int) -> torch.Tensor:
        """(heads * blocks,) rows of a cache."""
        if heads not in self.by_heads:
            head = torch.arange(heads, device=self.table.device)[:, None]
            self.by_heads[heads] = (self.table[None, :] * heads + head).reshape(-1)
        return self.by_heads[heads]

    def bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """(count, total): 0 where each of the step's tokens may look, -inf elsewhere."""
        kind = window, dtype
        if kind not in self.by_kind:
            positions = torch.arange(self.total, device=self.table.device)
            self.by_kind[kind] = _bias(positions[self.start :, None], positions, *kind)
        return self.by_kind[kind]


def _bias(
    asks: torch.Tensor, sees: torch.Tensor, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """0 where a token at position `asks` may look at one at `sees`, -inf elsewhere."""
    hidden = sees > asks if window is None else (sees > asks) | (asks - sees >= window)
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(
        hidden, -torch.inf
    )


@dataclass
class StepLayout:
    """Where everything of a step is: what the attention callback needs, built once, used by every
    layer."""

    size: int  # tokens per block
    slots: torch.Tensor  # (tokens,) block * size + offset, where each token's key goes
    groups: list[Group]
    long: list[LongRow]
    # (tokens,) where each is among those of `groups` and then `long`; None: right there.
    order: torch.Tensor | None
    caches: dict[int, LayerCache]
    by_heads: dict[int, torch.Tensor] = field(default_factory=dict)

    def write_index(self, heads: int) -> torch.Tensor:
        """(tokens * heads,) rows of a cache seen as (blocks * heads * size, width)."""
        if heads not in self.by_heads:
            block, offset = self.slots // self.size, self.slots % self.size
            head = torch.arange(heads, device=self.slots.device)
            self.by_heads[heads] = (
                (block[:, None] * heads + head) * self.size + offset[:, None]
            ).reshape(-1)
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
    # torch writes its zeros; numpy asks the system for pages that are zero when they are first
    # touched.
    return (
        torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8))
        .view(dtype)
        .view(shape)
    )


def bytes_per_token(shapes: dict[int, LayerShape], dtype: torch.dtype) -> int:
    return (
        sum(shape.heads * (shape.key_width + shape.value_width) for shape in shapes.values())
        * dtype.itemsize
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """`count` tokens to compute; the first is the step's `place`-th and the row's `start`-th."""

    place: int
    start: int
    count: int
    blocks: list[int]

    @property
    def total(self) -> int:
        return self.start + self.count

    def blocks_seen(self, size: int) -> int:
        return -(-self.total // size)


def lay_out(
    rows: list[tuple[list[int], int, int]],
    caches: dict[int, LayerCache],
    size: int,
    device: torch.device,
) -> StepLayout:
    """The layout of a step that computes, one row after the other, (blocks, first token, how many
    tokens)."""
    ends = np.cumsum([count for *_, count in rows])
    placed = [
        _Row(int(end) - count, start, count, blocks)
        for end, (blocks, start, count) in zip(ends, rows, strict=True)
    ]
    limit = _limit(caches)
    long = [row for row in placed if row.count > 1 and row.count * row.total > limit]
    chunks = [row for row in placed if row.count > 1 and row.count * row.total <= limit]
    groups = [
        _group(group, shared, size, device)
        for family, shared in _families([row for row in placed if row.count == 1], size)
        for group in _split(family, shared, size)
    ]
    groups += [
        _group(piece, 0, size, device)
        for group in _split(chunks, 0, size)
        for piece in _pieces(group, CHUNK_READS)
    ]
    return StepLayout(
        size,
        torch.tensor([slot for row in placed for slot in _slots(row, size)], device=device),
        groups,
        [
            LongRow(row.place, row.count, row.start, torch.tensor(row.blocks, device=device))
            for row in long
        ],
        _order(groups, long, int(ends[-1]), device),
        caches,
    )


def _limit(caches: dict[int, LayerCache]) -> float:
    """Of query tokens times what they see; rows past it are long. Soft caps and sinks need the
    scores of all rows."""
    if not all(cache.shape.plain for cache in caches.values()):
        return math.inf
    return (
        LONG_EXACT if any(cache.keys.dtype == torch.float32 for cache in caches.values()) else LONG
    )


def _slots(row: _Row, size: int) -> list[int]:
    """Where its tokens' keys go."""
    return [row.blocks[at // size] * size + at % size for at in range(row.start, row.total)]


def _families(rows: list[_Row], size: int) -> list[tuple[list[_Row], int]]:
    """(rows, how many leading blocks they share): those that share enough for it to pay, and all
    others with 0."""
    by_lead: dict[int, list[_Row]] = defaultdict(list)
    others: list[_Row] = []
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


def _shared(rows: list[_Row], size: int) -> int:
    """How many leading blocks all rows read whole: one with several holders is full, the last of a
    row is its own."""
    shortest = min(row.start for row in rows) // size
    table = np.array([row.blocks[:shortest] for row in rows])
    return int((table == table[0]).all(0).cumprod().sum())


def _split(rows: list[_Row], shared: int, size: int) -> list[list[_Row]]:
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


def _pieces(rows: list[_Row], reads: int) -> list[list[_Row]]:
    """Cut a group so that no more than one row reads more than so many keys."""
    most = max(1, reads // max(row.total for row in rows))
    return [rows[at : at + most] for at in range(0, len(rows), most)]


def _group(rows: list[_Row], shared: int, size: int, device: torch.device) -> Group:
    """`shared` leading blocks are the same for all rows."""
    rows = sorted(rows, key=lambda row: row.place)
    queries = max(row.count for row in rows)
    table = np.zeros((len(rows), max(row.blocks_seen(size) for row in rows)), dtype=np.int64)
    for number, row in enumerate(rows):
        seen = row.blocks[: row.blocks_seen(size)]
        table[number, : len(seen)] = seen
    counts = np.array([row.count for row in rows])[:, None]
    places = np.array([row.place for row in rows])[:, None] + np.minimum(
        np.arange(queries), counts - 1
    )
    return Group(
        places=torch.from_numpy(places.reshape(-1)).to(device),
        queries=queries,
        common=torch.from_numpy(table[0, :shared].copy()).to(device),
        table=torch.from_numpy(table[:, shared:].copy()).to(device),
        first=torch.tensor([row.start - shared * size for row in rows], device=device),
        size=size,
    )


def _order(
    groups: list[Group], long: list[_Row], tokens: int, device: torch.device
) -> torch.Tensor | None:
    """Where each of the step's tokens is among those of all groups and long rows; None if each is
    in its place."""
    places = [group.places.cpu().numpy() for group in groups]
    places += [np.arange(row.place, row.place + row.count) for row in long]
    joined = np.concatenate(places)
    order = np.empty(tokens, dtype=np.int64)
    # Of a token that stands several times, the first.
    order[joined[::-1]] = np.arange(len(joined))[::-1]
    return (
        None
        if np.array_equal(order, np.arange(len(joined)))
        else torch.from_numpy(order).to(device)
    )
