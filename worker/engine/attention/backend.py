"""What a step is, and what an attention backend does with it.

A step packs the new tokens of all rows into one forward pass: first all tokens of the first row,
then those of the second, and so on. A row is a chunk of a prompt or one token of a text that is
being generated. Which token may see which follows from the step alone, there is no mask.

A backend stores the keys and values of all tokens in blocks of `size` positions. Which block
belongs to which row is decided by `scheduling/blocks.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from worker.engine.arrays import to_device


@dataclass(frozen=True)
class LayerShape:
    """What a layer stores per token, `heads` keys of `key_width` and values of `value_width`, and
    how it reads them."""

    heads: int
    key_width: int
    value_width: int
    plain: bool = True  # neither a soft cap nor attention sinks
    scale: float = 1.0
    window: int | None = None  # tokens


@dataclass
class LayerCache:
    """The keys and values of one layer; each backend has its own order of their dimensions."""

    shape: LayerShape
    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True)
class How:
    """How a layer weighs what its tokens may see."""

    scale: float
    window: int | None = None  # tokens that each sees, itself included
    softcap: float | None = None
    sinks: torch.Tensor | None = None  # (heads,) logits of attention sinks


@dataclass(slots=True)  # not frozen, which would double the time it takes to make hundreds
class Row:
    """`count` tokens to compute; the first is the step's `place`-th and the row's `start`-th."""

    place: int
    start: int
    count: int
    blocks: list[int]

    @property
    def total(self) -> int:
        """Tokens that its last token sees, itself included."""
        return self.start + self.count

    def blocks_seen(self, size: int) -> int:
        """Blocks of `size` positions that hold these tokens."""
        return -(-self.total // size)


@dataclass
class Step:
    """The rows of one forward pass: `rows` and `longest` on the host, all else on the device."""

    rows: list[Row]
    longest: int  # new tokens of a row, at most
    ids: torch.Tensor  # (tokens,)
    positions: torch.Tensor  # (tokens,)
    slots: torch.Tensor  # (tokens,) block * size + offset, where each token's key goes
    starts: torch.Tensor  # (rows + 1,) int32: where each row's tokens begin
    used: torch.Tensor  # (rows,) int32: keys each row may see, this step's included
    table: torch.Tensor  # (rows, most blocks) int32
    keep: torch.Tensor  # (wanted,) tokens whose logits are wanted

    def overwrite(self, other: Step) -> None:
        """Copy the tensors of a step of the same sizes into this one's."""
        for name in ("ids", "positions", "slots", "starts", "used", "table", "keep"):
            getattr(self, name).copy_(getattr(other, name), non_blocking=True)


class StepAttention(Protocol):
    """The attention of one step."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # (tokens, heads, key_width)
        key: torch.Tensor,  # (tokens, kv heads, key_width)
        value: torch.Tensor,  # (tokens, kv heads, value_width)
        how: How,
    ) -> torch.Tensor:
        """(tokens, heads, value_width): store the step's keys and values, then let every token see
        what it may."""
        ...


class AttentionBackend(Protocol):
    """Stores the keys and values of all layers, and computes attention over them."""

    name: str
    size: int  # positions in a block
    scratch: int  # a block that rows without a sequence may write to, before anything is cached
    width: int | None  # blocks in each row of a step's table; None: those of the longest row
    records: bool  # whether steps over it can be recorded as CUDA graphs

    def begin(self, step: Step) -> StepAttention:
        """What computes the attention of `step`, in all layers."""
        ...

    def copy(self, blocks: list[tuple[int, int]]) -> None:
        """Copy whole blocks, each (from, to), in all layers."""
        ...


def lay_out(
    tokens: Sequence[list[int]],
    rows: Sequence[tuple[list[int], int]],
    wanted: Sequence[int],
    *,
    size: int,
    device: torch.device,
    width: int | None = None,
    filler: int = 0,
) -> Step:
    """The step that computes each row's new `tokens`.

    `rows` are (blocks, position of the first new token); `wanted` are the places of tokens, among
    all new ones in order, whose logits are wanted. The table is `width` blocks wide, or as wide as
    the longest row; `filler` stands where a row has no block.
    """
    all_blocks = [blocks for blocks, _ in rows]
    first = np.array([start for _, start in rows])
    counts = np.array([len(new) for new in tokens])
    starts = np.concatenate([[0], counts.cumsum()])
    held = np.array([len(blocks) for blocks in all_blocks])
    widest = width or held.max()
    table = np.full((len(rows), widest), filler)
    table[np.arange(widest) < held[:, None]] = _flat(all_blocks)
    row_of = np.repeat(np.arange(len(rows)), counts)
    positions = np.arange(starts[-1]) - starts[row_of] + first[row_of]
    slots = table[row_of, positions // size] * size + positions % size
    return Step(
        rows=list(map(Row, starts.tolist(), first.tolist(), counts.tolist(), all_blocks)),
        longest=int(counts.max()),
        ids=to_device(_flat(tokens), device),
        positions=to_device(positions, device, np.int64),
        slots=to_device(slots, device, np.int64),
        starts=to_device(starts, device, np.int32),
        used=to_device(first + counts, device, np.int32),
        table=to_device(table, device, np.int32),
        keep=to_device(np.asarray(wanted), device, np.int64),
    )


def _flat(lists: Sequence[list[int]]) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(lists), dtype=np.int64)


def copy_blocks(caches: Iterable[LayerCache], blocks: list[tuple[int, int]], heads: bool) -> None:
    """Copy whole blocks, each (from, to); where the cache is by `heads`, a block is a row for each
    of a layer's heads."""
    if not blocks:
        return
    old, new = np.array(blocks).T
    for cache in caches:
        count = cache.shape.heads if heads else 1
        rows = np.arange(count)
        index = [
            to_device((each[:, None] * count + rows).reshape(-1), cache.keys.device, np.int64)
            for each in (old, new)
        ]
        for held in (cache.keys, cache.values):
            held.index_copy_(0, index[1], held.index_select(0, index[0]))


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A cache's tensor. On a CPU its memory is only taken where a block is first used: numpy asks
    the system for pages that are zero when first touched, while torch would write the zeros."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    raw = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)


def bytes_per_token(shapes: dict[int, LayerShape], dtype: torch.dtype) -> int:
    """Bytes that the keys and values of one token take in all layers."""
    widths = (shape.heads * (shape.key_width + shape.value_width) for shape in shapes.values())
    return sum(widths) * dtype.itemsize
