"""The attention backend that runs anywhere: gathers the keys and values that each row reads, and
attends by matrix products.

A layer's cache is `[blocks x heads, size, width]`. Rows attend in groups (`grouping.py`); chunks
whose scores would take too much memory attend one by one, through torch's fused kernel.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import scaled_dot_product_attention

from worker.engine.attention.backend import How, LayerCache, LayerShape, Step, copy_blocks, zeros
from worker.engine.attention.grouping import divide
from worker.engine.attention.groups import Group, LongRow, order_of
from worker.engine.kernels.ops import block_attention

# Query tokens times the keys they see; past this a chunk attends alone (docs/log/engine.md).
LONG = 400_000
LONG_EXACT = 16_000  # in float32


class Gather:
    """The backend: `blocks` blocks of `size` positions for each layer."""

    name = "gather"
    scratch = 0
    width: int | None = None
    records = False

    def __init__(
        self,
        shapes: dict[int, LayerShape],
        *,
        blocks: int,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self.size = size
        self.caches = {
            layer: LayerCache(
                shape,
                zeros((blocks * shape.heads, size, shape.key_width), dtype, device),
                zeros((blocks * shape.heads, size, shape.value_width), dtype, device),
            )
            for layer, shape in shapes.items()
        }
        # The fused kernel has neither soft caps nor sinks, so chunks never attend alone with them.
        self._fuses = all(shape.plain for shape in shapes.values())
        self._exact = dtype == torch.float32

    def begin(self, step: Step) -> GatherStep:
        limit = (LONG_EXACT if self._exact else LONG) if self._fuses else math.inf
        return GatherStep(step, self.caches, self.size, limit)

    def copy(self, blocks: list[tuple[int, int]]) -> None:
        copy_blocks(self.caches.values(), blocks, heads=True)


class GatherStep:
    """The attention of one step. What it reads where is worked out once, for all layers."""

    def __init__(self, step: Step, caches: dict[int, LayerCache], size: int, limit: float):
        groups, long = divide(step.rows, size, limit)
        device = step.slots.device
        self.groups = [Group.of(together, size, device) for together in groups]
        self.long = [LongRow.of(row, device) for row in long]
        self._order = order_of(self.groups, self.long, len(step.slots), device)
        self._slots = step.slots
        self._caches = caches
        self._size = size
        self._by_heads: dict[int, torch.Tensor] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # (tokens, heads, key_width)
        key: torch.Tensor,  # (tokens, kv heads, key_width)
        value: torch.Tensor,  # (tokens, kv heads, value_width)
        how: How,
    ) -> torch.Tensor:
        """(tokens, heads, value_width)"""
        cache = self._caches[layer]
        index = self._write_index(cache.shape.heads)
        for flat, new in ((cache.keys, key), (cache.values, value)):
            width = flat.shape[-1]
            flat.view(-1, width).index_copy_(0, index, new.reshape(-1, width))
        parts = [_attend_together(group, query, cache, how) for group in self.groups]
        parts += [_attend_alone(row, query, key, value, cache, how) for row in self.long]
        out = torch.cat(parts) if len(parts) > 1 else parts[0]
        return out if self._order is None else out.index_select(0, self._order)

    def _write_index(self, heads: int) -> torch.Tensor:
        """(tokens * heads,) rows of a cache seen as (blocks * heads * size, width)."""
        if heads not in self._by_heads:
            block, offset = self._slots // self._size, self._slots % self._size
            head = torch.arange(heads, device=self._slots.device)
            index = (block[:, None] * heads + head) * self._size + offset[:, None]
            self._by_heads[heads] = index.reshape(-1)
        return self._by_heads[heads]


def _attend_together(
    group: Group, query: torch.Tensor, cache: LayerCache, how: How
) -> torch.Tensor:
    """(rows * queries, heads, value_width). The query heads that share a KV head are laid out as
    its query rows."""
    if how.window is not None:
        group = group.unshared()
    heads, queries = cache.shape.heads, group.queries
    asked = query.index_select(0, group.places).view(
        -1, queries, heads, query.shape[1] // heads, query.shape[2]
    )
    grouped = asked.permute(0, 2, 3, 1, 4).flatten(2, 3)
    index, common = group.read_index(heads)
    bias = group.bias(how.window, query.dtype)
    out = block_attention(
        grouped, cache.keys, cache.values, index, bias, common, how.scale, how.softcap, how.sinks
    )
    return out.reshape(len(group.first), query.shape[1], queries, -1).transpose(1, 2).flatten(0, 1)


def _attend_alone(
    row: LongRow,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cache: LayerCache,
    how: How,
) -> torch.Tensor:
    """(count, heads, value_width) by torch's fused kernel, which never stores the scores."""
    inside = slice(row.first, row.first + row.count)
    heads = cache.shape.heads
    # The query heads of a KV head side by side.
    asked = query[inside].transpose(0, 1).unflatten(0, (heads, -1))
    mask = None
    keys, values = key[inside].transpose(0, 1), value[inside].transpose(0, 1)
    if row.start or (how.window is not None and row.count > how.window):
        index, mask = row.read_index(heads), row.bias(how.window, query.dtype)
        keys, values = (
            held.index_select(0, index).view(heads, -1, held.shape[-1])[:, : row.total]
            for held in (cache.keys, cache.values)
        )
    keys, values = (held[:, None].expand(-1, asked.shape[1], -1, -1) for held in (keys, values))
    out = scaled_dot_product_attention(
        asked, keys, values, attn_mask=mask, is_causal=mask is None, scale=how.scale
    )
    return out.flatten(0, 1).transpose(0, 1)
