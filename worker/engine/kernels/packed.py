"""A linear layer's weights as the compiled products read them (`source/gemm.h`, `int8.h`)."""

from __future__ import annotations

import ctypes
from typing import Literal

import torch

from worker.engine.kernels.library import Library
from worker.engine.kernels.memory import Arena
from worker.engine.kernels.signatures import Linear

Kind = Literal["bf16", "int8"]
KINDS: dict[Kind, int] = {"bf16": 0, "int8": 1}
GROUP = 64  # inputs of a row that share a scale: one for the whole row costs 3.6 % of perplexity
TILE = 48  # outs that lie together
HALVES, FLOATS, ADDED = 0, 1, 2  # how results are written; added ones are rounded once


class PackedLinear:
    """Packed weights, and the layer's description for C functions in `structure`."""

    def __init__(
        self,
        library: Library,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        kind: Kind = "bf16",
        arena: Arena | None = None,
    ):
        """Of a bfloat16 weight (outs, ins) and a bias (outs,); the memory is the arena's, by
        default an own one's."""
        if weight.dtype != torch.bfloat16 or weight.ndim != 2:
            raise ValueError(f"no weight to pack: {weight.dtype} of shape {tuple(weight.shape)}")
        self._functions = library.functions
        self.kind = kind
        self.outs, self.ins = weight.shape
        weight = weight.detach().contiguous()
        arena = arena or Arena()
        size = self._functions.pm_packed_bytes(KINDS[kind], self.outs, self.ins)
        self.weights = arena.take(size)
        self.scales: torch.Tensor | None = None  # (outs,), of int8 weights
        where = weight.data_ptr(), self.weights.data_ptr()
        if kind == "int8":
            self.scales = torch.empty(self.outs)
            self._functions.pm_pack_int8(*where, self.scales.data_ptr(), self.outs, self.ins)
        else:
            self._functions.pm_pack_bf16(*where, self.outs, self.ins)
        self.bias = None if bias is None else bias.detach().float().contiguous()
        self.structure = Linear(
            kind=KINDS[kind],
            outs=self.outs,
            ins=self.ins,
            group=GROUP,
            weights=self.weights.data_ptr(),
            scales=None if self.scales is None else self.scales.data_ptr(),
            bias=None if self.bias is None else self.bias.data_ptr(),
        )
        self._pointer = ctypes.pointer(self.structure)

    def unpacked(self) -> torch.Tensor:
        """The bfloat16 weight (outs, ins), as it was before packing.

        Raises:
            ValueError: it was quantised.
        """
        if self.kind != "bf16":
            raise ValueError("quantised weights cannot be had back")
        tiles = self.weights.view(torch.bfloat16).view(-1, -(-self.ins // 2), TILE, 2)
        rows = tiles.transpose(1, 2).reshape(len(tiles) * TILE, -1)
        return rows[: self.outs, : self.ins].contiguous()

    def product(
        self, rows: torch.Tensor, out: torch.Tensor | None = None, written: int = HALVES
    ) -> torch.Tensor:
        """(rows, outs) of (rows, ins) bfloat16; `out` is float32 if it is written as `FLOATS`.

        Raises:
            ValueError: shapes, types or strides that the kernels do not read.
            MemoryError: there is none for the quantised rows.
        """
        dtype = torch.float32 if written == FLOATS else torch.bfloat16
        if out is None:
            out = rows.new_empty(len(rows), self.outs, dtype=dtype)
        for tensor, width, wanted in ((rows, self.ins, torch.bfloat16), (out, self.outs, dtype)):
            if tensor.shape != (len(rows), width) or tensor.dtype != wanted:
                raise ValueError(
                    f"{tensor.dtype} of shape {tuple(tensor.shape)} where {wanted} of shape "
                    f"{(len(rows), width)} is needed"
                )
            if tensor.stride(1) != 1 and width > 1:
                raise ValueError(f"the numbers of a row lie {tensor.stride(1)} apart, not 1")
        torch.get_num_threads()  # which tells OpenMP, for this thread, what torch was told
        if self._functions.pm_linear(
            self._pointer,
            rows.data_ptr(),
            rows.stride(0),
            len(rows),
            out.data_ptr(),
            out.stride(0),
            written,
        ):
            raise MemoryError(f"no memory for {len(rows)} quantised rows of {self.ins}")
        return out
