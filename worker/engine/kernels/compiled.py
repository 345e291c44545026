"""Linear layers computed by the compiled products, for models that run their own modules.

`pack` replaces a model's linear layers in place, `unpack` puts them back.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from worker.engine.kernels.library import Library
from worker.engine.kernels.memory import Arena
from worker.engine.kernels.packed import PackedLinear


class CompiledLinear(torch.nn.Module):
    """Takes the place of a `Linear` or of gpt2's `Conv1D`: (..., in) -> (..., out), bfloat16."""

    def __init__(self, layer: Any, library: Library, arena: Arena | None = None):
        super().__init__()
        self.turned = isinstance(layer, Conv1D)  # whether its weight is (in, out)
        weight = layer.weight.t() if self.turned else layer.weight
        self.packed = PackedLinear(library, weight, layer.bias, arena=arena)
        self.in_features, self.out_features = self.packed.ins, self.packed.outs
        self.read = False  # whether the weight was asked for, which is slow
        self._bias = None if layer.bias is None else layer.bias.detach()

    @property
    def weight(self) -> torch.Tensor:
        """As it was before packing: some models compute with a layer's weight instead of calling
        the layer."""
        self.read = True
        weight = self.packed.unpacked()
        return weight.t() if self.turned else weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self._bias

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
            if type(layer) in (torch.nn.Linear, Conv1D) and _packable(layer.weight):
                setattr(parent, name, CompiledLinear(layer, library, arena))
                packed += 1
    return packed


def _packable(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and weight.numel() > 0


def unpack(model: Any, *, only_read: bool = False) -> int:
    """Put packed layers back as they were: all, or only those whose weight was read. Returns the
    number of layers."""
    restored = 0
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, CompiledLinear) and (layer.read or not only_read):
                setattr(parent, name, _original(layer))
                restored += 1
    return restored


def _original(layer: CompiledLinear) -> Any:
    ins, outs = layer.in_features, layer.out_features
    with torch.device("meta"):
        original = (
            Conv1D(outs, ins)
            if layer.turned
            else torch.nn.Linear(ins, outs, bias=layer.bias is not None)
        )
    original.weight = torch.nn.Parameter(layer.weight.contiguous(), requires_grad=False)
    if layer.bias is not None:
        original.bias = torch.nn.Parameter(layer.bias, requires_grad=False)
    return original
