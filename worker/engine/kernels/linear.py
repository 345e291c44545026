"""Linear layers laid out once for the CPU by oneDNN, those of one input side by side.

`pack` replaces a model's linear layers in place, `unpack` puts them back.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

# Projections that read the same input, by the names that most families give them.
SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
PACKABLE = (torch.float32, torch.bfloat16)


def pack(model: Any) -> int:
    """Lay out a CPU model's linear layers for oneDNN, in place; returns how many weights were
    packed.

    `F.linear` does this anew at each call, which takes a third of a small batch's time. A packed
    layer computes the same products; a tied head gets a copy of its own.
    """
    device = next(model.parameters()).device
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return 0
    packed = 0
    for parent in list(model.modules()):
        for names in SIBLINGS:
            layers: list[Any] = [getattr(parent, name, None) for name in names]
            if (
                all(_packable(layer) for layer in layers)
                and len({layer.in_features for layer in layers}) == 1
            ):
                shared = _Shared(Packed(layers))
                for index, name in enumerate(names):
                    setattr(parent, name, _Part(shared, index))
                packed += 1
        for name, layer in list(parent.named_children()):
            if _packable(layer):
                setattr(parent, name, Packed([layer]))
                packed += 1
    return packed


def _packable(layer: Any) -> bool:
    return (
        type(layer) is torch.nn.Linear
        and layer.weight.dtype in PACKABLE
        and packs(layer.weight.dtype)
    )


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN lays out weights of this type on this CPU; bfloat16 needs AVX-512 or
    similar."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(1, 1, dtype=dtype))
    except RuntimeError:
        return False
    return True


def unpack(model: Any, *, only_read: bool = False) -> int:
    """Put packed layers back as they were: all, or only those whose weight was read. Returns the
    number of weights."""
    found: set[Packed] = set()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Packed | _Part) and (layer.packed.read or not only_read):
                found.add(layer.packed)
                setattr(parent, name, _linear(layer.weight, layer.bias))
    return len(found)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.nn.Linear:
    outs, ins = weight.shape
    layer = torch.nn.Linear(ins, outs, bias=bias is not None, device="meta")
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias, requires_grad=False)
    return layer


class Packed(torch.nn.Module):
    """One or several linear layers of one input, their outputs side by side: (..., in) -> (..., sum
    of outs)."""

    def __init__(self, layers: list[torch.nn.Linear]):
        super().__init__()
        weight = torch.cat([layer.weight.detach() for layer in layers])
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        biases = [
            layer.bias.detach() if layer.bias is not None else weight.new_zeros(len(layer.weight))
            for layer in layers
        ]
        self._bias = torch.cat(biases) if any(layer.bias is not None for layer in layers) else None
        self.widths = [layer.out_features for layer in layers]
        self.read = False  # whether the weight was asked for, which is slow

    @property
    def packed(self) -> Packed:
        return self

    @property
    def weight(self) -> torch.Tensor:
        """(sum of outs, in), as it was before packing: some models compute with a layer's weight
        instead of calling the layer."""
        self.read = True
        return self._weight.to_dense()

    @property
    def bias(self) -> torch.Tensor | None:
        return self._bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _differs_alone(x):
            return self(_twice(x))[..., :1, :]
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """`forward(x) + other`, rounded once."""
        if _differs_alone(x):
            return self.plus(_twice(x), _twice(other))[..., :1, :]
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")


def _differs_alone(x: torch.Tensor) -> bool:
    """Whether `x` is a single float32 row: oneDNN computes it in another way, and the last bits
    differ from those it gets among other rows."""
    return x.dtype == torch.float32 and x.shape[-2] == 1


def _twice(x: torch.Tensor) -> torch.Tensor:
    return x.expand(*x.shape[:-2], 2, -1)


def packed_of(*layers: Any) -> Packed:
    """The packed layer that `pack` made of all these layers.

    Raises:
        ValueError: they were not packed together.
    """
    found = layers[0].packed if isinstance(layers[0], Packed | _Part) else None
    if found is None or len(found.widths) != len(layers):
        raise ValueError("its layers are not packed")
    return found


class _Shared:
    """Sibling projections: the first one called computes all of them, and the others return their
    parts, as long as they are called with the same tensor object."""

    def __init__(self, packed: Packed):
        self.packed = packed
        self._input: torch.Tensor | None = None
        self._outputs: list[torch.Tensor | None] = []

    def part(self, x: torch.Tensor, index: int) -> torch.Tensor:
        if x is not self._input or self._outputs[index] is None:
            self._input = x
            self._outputs = list(self.packed(x).split(self.packed.widths, -1))
        output, self._outputs[index] = self._outputs[index], None
        assert output is not None
        if not any(part is not None for part in self._outputs):
            self._input = None
        return output


class _Part(torch.nn.Module):
    """Takes the place of one of several sibling projections."""

    def __init__(self, shared: _Shared, index: int):
        super().__init__()
        self.shared = shared
        self._index = index

    @property
    def packed(self) -> Packed:
        return self.shared.packed

    @property
    def weight(self) -> torch.Tensor:
        return self.packed.weight.split(self.packed.widths)[self._index].clone()

    @property
    def bias(self) -> torch.Tensor | None:
        return (
            None
            if self.packed.bias is None
            else self.packed.bias.split(self.packed.widths)[self._index]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared.part(x, self._index)
