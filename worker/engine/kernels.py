"""The seam for fast code: everything in the engine that is worth a kernel of its own goes through here.

`pack` lays a model's linear layers out once for the CPU and computes sibling projections together.
`decode_attention` is the attention of rows with one query token.
"""

from __future__ import annotations

from typing import Any

import torch

# Projections that read the same input, by the names that most families give them.
SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
PACKABLE = (torch.float32, torch.bfloat16)


def pack(model: Any) -> int:
    """Lay out a CPU model's linear layers for oneDNN, in place; returns how many weights were packed.

    `F.linear` does this anew at each call, which takes a third of a small batch's time. A packed layer computes the
    same products; a tied head gets a copy of its own.
    """
    device = next(model.parameters()).device
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return 0
    packed = 0
    for parent in list(model.modules()):
        for names in SIBLINGS:
            layers: list[Any] = [getattr(parent, name, None) for name in names]
            if all(_packable(layer) for layer in layers) and len({layer.in_features for layer in layers}) == 1:
                shared = _Shared(layers)
                for index, name in enumerate(names):
                    setattr(parent, name, _Part(shared, index))
                packed += 1
        for name, layer in list(parent.named_children()):
            if _packable(layer):
                setattr(parent, name, _Packed([layer]))
                packed += 1
    return packed


def _packable(layer: Any) -> bool:
    return type(layer) is torch.nn.Linear and layer.weight.dtype in PACKABLE


class _Packed(torch.nn.Module):
    """One or several linear layers of one input, their outputs side by side: (..., in) -> (..., sum of outs)."""

    def __init__(self, layers: list[torch.nn.Linear]):
        super().__init__()
        weight = torch.cat([layer.weight.detach() for layer in layers])
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        biases = [
            layer.bias.detach() if layer.bias is not None else weight.new_zeros(len(layer.weight)) for layer in layers
        ]
        self._bias = torch.cat(biases) if any(layer.bias is not None for layer in layers) else None
        self.widths = [layer.out_features for layer in layers]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")


class _Shared:
    """Sibling projections: the first that is asked computes for all, if they are asked about the very same tensor."""

    def __init__(self, layers: list[torch.nn.Linear]):
        self._packed = _Packed(layers)
        self._input: torch.Tensor | None = None
        self._outputs: list[torch.Tensor | None] = []

    def part(self, x: torch.Tensor, index: int) -> torch.Tensor:
        if x is not self._input or self._outputs[index] is None:
            self._input = x
            self._outputs = list(self._packed(x).split(self._packed.widths, -1))
        output, self._outputs[index] = self._outputs[index], None
        assert output is not None
        if not any(part is not None for part in self._outputs):
            self._input = None
        return output


class _Part(torch.nn.Module):
    """Stands where one of several sibling projections was."""

    def __init__(self, shared: _Shared, index: int):
        super().__init__()
        self._shared = shared
        self._index = index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._shared.part(x, self._index)


def decode_attention(
    query: torch.Tensor,  # (rows, kv heads, query heads per kv head, key_width)
    keys: torch.Tensor,  # (blocks * kv heads, size, key_width)
    values: torch.Tensor,  # (blocks * kv heads, size, value_width)
    index: torch.Tensor,  # (rows * kv heads * most blocks,) which rows of `keys` and `values` each row reads
    bias: torch.Tensor,  # (rows, 1, positions): 0 where a row may look, -inf elsewhere
    common: torch.Tensor,  # (kv heads * shared blocks,) what all rows read before that; may be empty
    scale: float,
    softcap: float | None,
    sinks: torch.Tensor | None,  # (query heads,)
) -> torch.Tensor:
    """Attention of one query token per row over its blocks: (rows, kv heads, query heads per kv head, value_width).

    The blocks that all rows share are read once, by one matrix product for all of them.
    """
    rows, heads, shared, width = query.shape
    own = query.reshape(rows * heads, shared, width)
    gathered = keys.index_select(0, index).view(rows * heads, -1, width).transpose(1, 2)
    mask = bias.repeat_interleave(heads, 0) if heads > 1 else bias
    if softcap is None:
        scores = torch.baddbmm(mask.to(own.dtype), own, gathered, alpha=scale)
    else:
        scores = softcap * torch.tanh(torch.bmm(own, gathered) * (scale / softcap)) + mask
    parts = [scores.float().view(rows, heads, shared, -1)]
    if len(common):
        together = query.permute(1, 0, 2, 3).reshape(heads, rows * shared, width)
        found = torch.bmm(together, keys.index_select(0, common).view(heads, -1, width).transpose(1, 2)).float() * scale
        if softcap is not None:
            found = softcap * torch.tanh(found / softcap)
        parts.append(found.view(heads, rows, shared, -1).transpose(0, 1))
    if sinks is not None:
        parts.append(sinks.float().view(1, heads, shared, 1).expand(rows, -1, -1, -1))
    weights = (torch.cat(parts, -1) if len(parts) > 1 else parts[0]).softmax(-1).to(values.dtype)
    here = scores.shape[-1]
    out = torch.bmm(
        weights[..., :here].reshape(rows * heads, shared, here),
        values.index_select(0, index).view(rows * heads, here, -1),
    ).view(rows, heads, shared, -1)
    if len(common):
        there = parts[1].shape[-1]
        pooled = weights[..., here : here + there].transpose(0, 1).reshape(heads, rows * shared, there)
        found = torch.bmm(pooled, values.index_select(0, common).view(heads, there, -1))
        out = out + found.view(heads, rows, shared, -1).transpose(0, 1)
    return out
