"""The attention backend of the compiled kernels: bfloat16 on a CPU, and for a token the same bits
in any company.

A layer's cache is units of 16 positions and one head, keys before values; their order is described
in `kernels/source/paging.h`. Models without kernels, or with what these lack, use `gather.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from worker.engine.arrays import to_device
from worker.engine.attention.backend import How, LayerShape, Step
from worker.engine.kernels.library import Library
from worker.engine.kernels.memory import zeroed
from worker.engine.kernels.signatures import Cache, Reading, Rows

SIZE = 16  # positions in a block: BLOCK of paging.h
WIDTHS = range(32, 257, 16)


def serves(shapes: dict[int, LayerShape], dtype: torch.dtype) -> bool:
    """Whether the kernels have all that these layers need."""
    return dtype == torch.bfloat16 and all(
        shape.plain
        and shape.key_width == shape.value_width
        and shape.key_width in WIDTHS
        and shape.scale > 0
        for shape in shapes.values()
    )


@dataclass
class NativeCache:
    """The keys and values of one layer."""

    shape: LayerShape
    units: torch.Tensor  # (blocks, heads, 2 * SIZE * width), keys before values
    structure: Cache  # the same for the kernels

    @classmethod
    def of(cls, shape: LayerShape, blocks: int) -> NativeCache:
        units = _memory(blocks, shape.heads, 2 * SIZE * shape.key_width)
        return cls(shape, units, Cache(units.data_ptr(), shape.heads, shape.key_width))


class Native:
    """The backend: `blocks` blocks of 16 positions for each layer."""

    name = "native"
    size = SIZE
    scratch = 0
    width: int | None = None
    records = False

    def __init__(self, shapes: dict[int, LayerShape], *, blocks: int, library: Library):
        self.library = library
        self.caches = {layer: NativeCache.of(shape, blocks) for layer, shape in shapes.items()}
        # Of all layers in order, side by side for kernels that compute whole passes.
        self.structures = (Cache * len(shapes))(
            *(self.caches[layer].structure for layer in sorted(shapes))
        )

    def begin(self, step: Step) -> NativeStep:
        return NativeStep(step, self)

    def copy(self, blocks: list[tuple[int, int]]) -> None:
        if not blocks:
            return
        old, new = (
            to_device(np.array(each), torch.device("cpu"), np.int64)
            for each in zip(*blocks, strict=True)
        )
        for cache in self.caches.values():
            cache.units.index_copy_(0, new, cache.units.index_select(0, old))


class NativeStep:
    """The attention of one step. `rows`, `plan` and `structures` are for kernels that compute whole
    passes."""

    def __init__(self, step: Step, backend: Native):
        torch.get_num_threads()  # tells OpenMP, for a thread's first step, what torch was told
        self._functions = backend.library.functions
        self._caches = backend.caches
        self.structures = backend.structures
        firsts = np.fromiter((row.start for row in step.rows), np.int32, len(step.rows))
        self._kept = (step.starts, firsts, step.table)  # `rows` has only their addresses
        self.rows = Rows(
            len(step.rows),
            step.starts.data_ptr(),
            firsts.ctypes.data,
            step.table.data_ptr(),
            step.table.shape[1],
        )
        self.plan: int = self._functions.pm_plan_new(self.rows)

    def __del__(self) -> None:
        self._functions.pm_plan_free(self.plan)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # (tokens, heads, width)
        key: torch.Tensor,  # (tokens, kv heads, width)
        value: torch.Tensor,  # (tokens, kv heads, width)
        how: How,
    ) -> torch.Tensor:
        """(tokens, heads, width)"""
        query, key, value = _by_token(query), _by_token(key), _by_token(value)
        out = torch.empty(query.shape, dtype=query.dtype)
        strided = ((each.data_ptr(), each.stride(0)) for each in (query, key, value, out))
        self._functions.pm_attend(
            self._caches[layer].structure,
            self.rows,
            self.plan,
            Reading(how.scale, how.window or 0, query.shape[1]),
            *(argument for pair in strided for argument in pair),
        )
        return out


def _by_token(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers; those of a token lie side by side."""
    if tensor.dtype != torch.bfloat16:
        raise TypeError(f"the compiled attention takes bfloat16, not {tensor.dtype}")
    if tensor.stride()[1:] == (tensor.shape[2], 1):
        return tensor
    return tensor.contiguous()


def _memory(*shape: int) -> torch.Tensor:
    """Zeros in bfloat16, in huge pages: with small ones a step of one row takes half as long
    again."""
    size = int(np.prod(shape)) * torch.bfloat16.itemsize
    return zeroed(size).view(torch.bfloat16).view(shape)
