"""Where the keys of rows that attend together are, and which of them each query token may see.

These are index and bias tensors, worked out once a step and kind of layer, and used by all layers
of that kind. A layer's cache is `[blocks x heads, size, width]`, so that one gather of cache rows
gives `[row, head, position, width]` without a transpose.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from worker.engine.arrays import to_device
from worker.engine.attention.backend import Row
from worker.engine.attention.grouping import Together


@dataclass
class Group:
    """Rows that attend together, padded to the same numbers of query tokens and of blocks."""

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

    @classmethod
    def of(cls, together: Together, size: int, device: torch.device) -> Group:
        """The tensors of rows that attend together."""
        shared = together.shared
        rows = sorted(together.rows, key=lambda row: row.place)
        queries = max(row.count for row in rows)
        table = np.zeros((len(rows), max(row.blocks_seen(size) for row in rows)), dtype=np.int64)
        for number, row in enumerate(rows):
            seen = row.blocks[: row.blocks_seen(size)]
            table[number, : len(seen)] = seen
        counts = np.array([row.count for row in rows])[:, None]
        places = np.array([row.place for row in rows])[:, None]
        places = places + np.minimum(np.arange(queries), counts - 1)
        return cls(
            places=to_device(places.reshape(-1), device),
            queries=queries,
            common=to_device(table[0, :shared], device),
            table=to_device(table[:, shared:], device),
            first=torch.tensor([row.start - shared * size for row in rows], device=device),
            size=size,
        )

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
            sees = torch.arange(self.table.shape[1] * self.size, device=device)
            self.by_kind[kind] = _bias(asks, sees, *kind)
        return self.by_kind[kind]


@dataclass
class LongRow:
    """A chunk that attends by itself, because its scores are too many to be stored; `start` of its
    row's tokens were computed before."""

    first: int  # place of its first token among the step's
    count: int
    start: int
    table: torch.Tensor  # (blocks,)
    by_heads: dict[int, torch.Tensor] = field(default_factory=dict)
    by_kind: dict[tuple[int | None, torch.dtype], torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Row, device: torch.device) -> LongRow:
        return cls(row.place, row.count, row.start, torch.tensor(row.blocks, device=device))

    @property
    def total(self) -> int:
        """Tokens that its last token sees, itself included."""
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


def order_of(
    groups: list[Group], long: list[LongRow], tokens: int, device: torch.device
) -> torch.Tensor | None:
    """(tokens,) where each of the step's tokens is among those of all groups and then all long
    rows; None if each is in its place."""
    places = [group.places.cpu().numpy() for group in groups]
    places += [np.arange(row.first, row.first + row.count) for row in long]
    joined = np.concatenate(places)
    order = np.empty(tokens, dtype=np.int64)
    # Of a token that stands several times, the first.
    order[joined[::-1]] = np.arange(len(joined))[::-1]
    in_place = np.array_equal(order, np.arange(len(joined)))
    return None if in_place else to_device(order, device)


def _bias(
    asks: torch.Tensor, sees: torch.Tensor, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """0 where a token at position `asks` may look at one at `sees`, -inf elsewhere."""
    hidden = sees > asks if window is None else (sees > asks) | (asks - sees >= window)
    zeros = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return zeros.masked_fill_(hidden, -torch.inf)
