"""Linear layers computed by the compiled products, for models that run their own modules.

`pack` replaces a model's linear layers in place, `unpack` puts them back.
"""

from __future__ import annotations

from typing import Any

import torch

from worker.engine.kernels.library import Library
from worker.engine.kernels.memory import Arena
from worker.engine.kernels.packed import PackedLinear


def _turned(layer: Any) -> bool:
    """Whether it is gpt2's `Conv1D`, whose weight is (in, out). It is known by its name, since the
    kernels know no transformers."""
    return type(layer).__name__ == "Conv1D" and layer.weight.shape == (layer.nx, layer.nf)


class CompiledLinear(torch.nn.Module):
    """Takes the place of a `Linear` or of gpt2's `Conv1D`: (..., in) -> (..., out), bfloat16."""

    def __init__(self, layer: Any, library: Library, arena: Arena | None = None):
        super().__init__()
        self._turned = _turned(layer)
        weight = layer.weight.t() if self._turned else layer.weight
        self.packed = PackedLinear(library, weight, layer.bias, arena=arena)
        self.in_features, self.out_features = self.packed.ins, self.packed.outs
        self.read = False  # whether the weight was asked for, which is slow
        # Without its weight; in a tuple, since it is no part of the model any more.
        self._replaced = (layer,)
        layer.weight = None

    @property
    def weight(self) -> torch.Tensor:
        """As it was before packing: some models compute with a layer's weight instead of calling
        the layer."""
        self.read = True
        weight = self.packed.unpacked()
        return weight.t() if self._turned else weight

    @property
    def bias(self) -> torch.Tensor | None:
        bias: torch.Tensor | None = self._replaced[0].bias
        return bias

    def original(self) -> Any:
        """The layer that this one replaced, with its weight."""
        layer = self._replaced[0]
        layer.weight = torch.nn.Parameter(self.weight.contiguous(), requires_grad=False)
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_features)
        if rows.stride(-1) != 1:
            rows = rows.contiguous()
        return self.packed.product(rows).view(*x.shape[:-1], self.out_features)


def pack(model: Any, library: Library) -> int:
    """Lay out a CPU model's bfloat16 linear layers for the compiled products, in place; returns how
    many were packed. A tied head gets a copy of its own."""
    arena, packed = Arena(), 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if _packable(layer):
                setattr(parent, name, CompiledLinear(layer, library, arena))
                packed += 1
    return packed


def _packable(layer: Any) -> bool:
    if type(layer) is not torch.nn.Linear and not _turned(layer):
        return False
    weight = layer.weight
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and weight.numel() > 0


def unpack(model: Any, *, only_read: bool = False) -> int:
    """Put packed layers back as they were: all, or only those whose weight was read. Returns the
    number of layers."""
    restored = 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, CompiledLinear) and (layer.read or not only_read):
                setattr(parent, name, layer.original())
                restored += 1
    return restored
