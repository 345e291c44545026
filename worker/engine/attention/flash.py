"""The attention backend on CUDA: torch's paged attention kernel.

The cache is in pages `[page, position, head, width]`, which `varlen_attn` reads through a block
table: one call a layer for all rows of a step, prefill chunks and decode rows alike. It serves no
soft caps, attention sinks, uneven widths or float32; such models take `gather.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.attention.varlen import varlen_attn

from worker.engine.attention.backend import How, LayerCache, LayerShape, Step, copy_blocks, zeros

# Tokens. The kernel takes multiples of it, and is reported to go wrong when it splits what it
# reads.
PAGE = 256
DTYPES = (torch.bfloat16, torch.float16)


def serves(shapes: dict[int, LayerShape], dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the kernel is made for layers of these shapes, on this device."""
    return (
        device.type == "cuda"
        and dtype in DTYPES
        and all(
            shape.plain and shape.key_width == shape.value_width and shape.key_width % 8 == 0
            for shape in shapes.values()
        )
    )


class Flash:
    """The backend: `blocks` pages for each layer; rows have at most `context` tokens."""

    name = "flash"
    records = True

    def __init__(
        self,
        shapes: dict[int, LayerShape],
        *,
        blocks: int,
        context: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        self.size = PAGE
        self.scratch = blocks  # a page behind the others, which the scheduler never gives out
        self.width: int | None = -(-context // PAGE)
        self._caches = {
            layer: LayerCache(
                shape,
                zeros((blocks + 1, PAGE, shape.heads, shape.key_width), dtype, device),
                zeros((blocks + 1, PAGE, shape.heads, shape.value_width), dtype, device),
            )
            for layer, shape in shapes.items()
        }

    def begin(self, step: Step) -> FlashStep:
        return FlashStep(step, self._caches)

    def copy(self, blocks: list[tuple[int, int]]) -> None:
        copy_blocks(self._caches.values(), blocks, heads=False)


class FlashStep:
    """The attention of one step. Rows without a sequence read one position of the scratch page."""

    def __init__(self, step: Step, caches: dict[int, LayerCache]):
        self._step = step
        self._caches = caches
        self._bounds = _bounds(step)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # (tokens, heads, width)
        key: torch.Tensor,  # (tokens, kv heads, width)
        value: torch.Tensor,
        how: How,
    ) -> torch.Tensor:
        """(tokens, heads, width)"""
        cache = self._caches[layer]
        for pages, new in ((cache.keys, key), (cache.values, value)):
            pages.view(-1, *pages.shape[2:]).index_copy_(0, self._step.slots, new)
        return _attend(
            query, cache.keys, cache.values, self._step, self._bounds, how.scale, how.window
        )


def _bounds(step: Step) -> torch.Tensor:
    """(rows + 1,) int32: where each row's keys would begin if all its pages lay side by side."""
    rows = torch.arange(len(step.used) + 1, dtype=torch.int32, device=step.used.device)
    return rows * (step.table.shape[1] * PAGE)


def _attend(
    query: torch.Tensor,  # (tokens, heads, width)
    keys: torch.Tensor,  # (pages, PAGE, kv heads, width)
    values: torch.Tensor,
    step: Step,
    bounds: torch.Tensor,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    room = step.table.shape[1] * PAGE
    # A row's only token is its last, so nothing needs hiding from it. Without a mask the kernel
    # computes the query heads that share a KV head together; with one it reads the keys for each.
    unmasked = step.longest == 1 and window is None
    out = varlen_attn(
        query,
        keys,
        values,
        step.starts,
        bounds,
        step.longest,
        room,
        scale=scale,
        window_size=(-1, -1) if unmasked else (-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != keys.shape[2],
        seqused_k=step.used,
        block_table=step.table,
        num_splits=1,
    )
    assert isinstance(out, torch.Tensor)
    return out


def parity(shape: LayerShape, dtype: torch.dtype, device: torch.device) -> float:
    """The largest difference between the kernel and plain arithmetic; NaN if the kernel gives one.

    Compared are a step of decode rows and chunks and one of decode rows alone, within and past a
    page, with and without a window.
    """
    steps = [1, 1, 1, 20, 40], [1] * 5
    found = [
        _parity(shape, counts, window, dtype, device) for counts in steps for window in (None, 64)
    ]
    return torch.stack(found).max().item()


def _parity(
    shape: LayerShape,
    counts: list[int],
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """The largest difference in one step whose rows have `counts` query tokens."""
    generator = torch.Generator().manual_seed(1)
    lengths = [1, 300, 2 * PAGE, 700, 40]
    heads, width = shape.heads, shape.key_width
    query = torch.randn(sum(counts), 2 * heads, width, generator=generator).to(device, dtype)
    keys, values = (
        torch.randn(16, PAGE, heads, width, generator=generator).to(device, dtype) for _ in range(2)
    )
    table = torch.randperm(15, generator=generator).view(5, 3).to(device, torch.int32)
    starts = torch.tensor([0, *np.cumsum(counts)], dtype=torch.int32, device=device)
    used = torch.tensor(lengths, dtype=torch.int32, device=device)
    empty = torch.empty(0, device=device)
    step = Step([], max(counts), empty, empty, empty, starts, used, table, empty)
    found = _attend(query, keys, values, step, _bounds(step), width**-0.5, window)
    worst = []
    for row, length in enumerate(lengths):
        inside = slice(int(starts[row]), int(starts[row + 1]))
        key, value = (each[table[row].long()].flatten(0, 1)[:length] for each in (keys, values))
        expected = _plainly(query[inside], key, value, window)
        worst.append((found[inside].float() - expected).abs().max())
    return torch.stack(worst).max()  # which keeps a NaN; Python's own `max` may drop it


def _plainly(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
) -> torch.Tensor:
    """(count, heads, width) float32: the last tokens of a row look at its `key` (length, kv heads,
    width)."""
    count, heads, width = query.shape
    key, value = (
        each.float().repeat_interleave(heads // each.shape[1], 1) for each in (key, value)
    )
    asks = torch.arange(len(key) - count, len(key), device=query.device)[:, None]
    sees = torch.arange(len(key), device=query.device)[None, :]
    hidden = (sees > asks) | (False if window is None else asks - sees >= window)
    scores = torch.einsum("qhd,khd->hqk", query.float(), key) * width**-0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), value)
