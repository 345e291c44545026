"""Linear layers of one input as one matrix product, for GPUs, whose libraries want no other layout.

Where `linear.Packed` lays weights out anew for a CPU, this puts them side by side. The layers keep
working: their weights become views of the joined one, so that no memory is taken twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear


class Joined:
    """Several linear layers: (tokens, in) -> (tokens, sum of outs), their outputs side by side."""

    def __init__(self, layers: list[torch.nn.Linear]):
        biases = [layer.bias for layer in layers]
        self._weight = layers[0].weight.detach()
        if len(layers) > 1:
            self._weight = torch.cat([layer.weight.detach() for layer in layers])
            parts = self._weight.split([layer.out_features for layer in layers])
            for layer, part in zip(layers, parts, strict=True):
                layer.weight = torch.nn.Parameter(part, requires_grad=False)
        self._bias = torch.cat([bias.detach() for bias in biases]) if None not in biases else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self._weight, self._bias)

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """`self(x) + other`, rounded once where there is no bias."""
        if self._bias is not None:
            return self(x).add_(other)
        return torch.addmm(other, x, self._weight.t())


def joined_of(*layers: Any) -> Joined:
    """What computes all these layers at once.

    Raises:
        ValueError: they are no plain linear layers, or only some have a bias.
    """
    plain = all(type(layer) is torch.nn.Linear for layer in layers)
    if not plain or len({layer.bias is None for layer in layers}) > 1:
        raise ValueError("its layers cannot be joined")
    return Joined(list(layers))
