"""The seam for fast code: everything in the engine that is worth a kernel of its own goes through
here.

`pack` lays a model's linear layers out once for the CPU and computes sibling projections together.
`block_attention` is the attention of rows over their blocks of the cache. The others are what a
decoder layer does besides.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.nn.functional import silu

# Projections that read the same input, by the names that most families give them.
SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
PACKABLE = (torch.float32, torch.bfloat16)
COMPOSED_NORM = 100_000  # elements (measured; docs/log/engine.md)


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
    """Whether oneDNN lays out weights of this type on this CPU: bfloat16 needs AVX-512 or its
    like."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(1, 1, dtype=dtype))
    except RuntimeError:
        return False
    return True


def unpack(model: Any, *, only_read: bool = False) -> int:
    """Put packed layers back as they were: all, or only those whose weight was read; returns how
    many weights."""
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
        self.read = False  # whether anybody asked for the weight, which is costly

    @property
    def packed(self) -> Packed:
        return self

    @property
    def weight(self) -> torch.Tensor:
        """(sum of outs, in), as it was: some models compute with a layer's weight instead of
        calling the layer."""
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
    """A float32 row alone takes another path through oneDNN, to other last bits than it has among
    others."""
    return x.dtype == torch.float32 and x.shape[-2] == 1


def _twice(x: torch.Tensor) -> torch.Tensor:
    return x.expand(*x.shape[:-2], 2, -1)


def packed_of(*layers: Any) -> Packed:
    """What computes all these layers at once, where `pack` put it.

    Raises:
        ValueError: they were not packed so.
    """
    found = layers[0].packed if isinstance(layers[0], Packed | _Part) else None
    if found is None or len(found.widths) != len(layers):
        raise ValueError("its layers are not packed")
    return found


class _Shared:
    """Sibling projections: the first that is asked computes for all, if they are asked about the
    very same tensor."""

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
    """Stands where one of several sibling projections was."""

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


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last dimension; `weight` is there twice, one copy
    behind the other.

    On the CPU torch composes this norm of seven operations, but has one kernel for the layer norm,
    which is the same for (x, -x): their mean is 0 and their variance the mean square of x. For many
    tokens in a short type composing it is faster, since a copy more of all of them costs more than
    some operations.
    """
    width = x.shape[-1]
    if x.dtype != torch.float32 and x.numel() > COMPOSED_NORM:
        exact = x.float()
        exact.mul_(torch.rsqrt(exact.square().mean(-1, keepdim=True) + eps))
        return exact.to(x.dtype).mul_(weight[:width])
    both = torch.cat((x, -x), -1)
    return torch.native_layer_norm(both, [2 * width], weight, None, eps)[0][..., :width]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of `x` (tokens, heads, width) by `cos` and `sin` (tokens, 1, width); the
    first half of `sin` is negated already."""
    half = x.shape[-1] // 2
    swapped = torch.cat((x[..., half:], x[..., :half]), -1)
    return torch.addcmul(swapped.mul_(sin), x, cos)


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of (..., gate beside up)."""
    gate, up = gate_up.chunk(2, -1)
    return silu(gate).mul_(up)


def block_attention(
    query: torch.Tensor,  # (rows, kv heads, query heads per kv head * queries, key_width)
    keys: torch.Tensor,  # (blocks * kv heads, size, key_width)
    values: torch.Tensor,  # (blocks * kv heads, size, value_width)
    # (rows * kv heads * most blocks,) which rows of `keys` and `values` each row reads.
    index: torch.Tensor,
    bias: torch.Tensor,  # (rows, queries, positions): 0 where a query may look, -inf elsewhere
    # (kv heads * shared blocks,) what all rows read before that; may be empty.
    common: torch.Tensor,
    scale: float,
    softcap: float | None,
    sinks: torch.Tensor | None,  # (query heads,)
) -> torch.Tensor:
    """Attention of each row's queries over its blocks: shaped as `query`, but of value_width.

    The blocks that all rows share are read once, by one matrix product for all of them. A softmax
    in a short type computes in float32, so nothing is cast for it.
    """
    rows, heads, asking, width = query.shape
    queries = bias.shape[1]
    own = query.reshape(rows * heads, asking, width)
    gathered = keys.index_select(0, index).view(rows * heads, -1, width)
    scores = _scores(own, gathered, scale, softcap)
    here = scores.shape[-1]
    scores.view(rows, -1, queries, here).add_(bias[:, None])
    parts = [scores.view(rows, heads, asking, here)]
    if len(common):
        together = query.transpose(0, 1).reshape(heads, rows * asking, width)
        found = _scores(
            together, keys.index_select(0, common).view(heads, -1, width), scale, softcap
        )
        parts.append(found.view(heads, rows, asking, -1).transpose(0, 1))
    if sinks is not None:
        column = sinks.to(scores.dtype).view(1, heads, -1, 1).expand(rows, -1, -1, queries)
        parts.append(column.reshape(rows, heads, asking, 1))
    weights = (torch.cat(parts, -1) if len(parts) > 1 else parts[0]).softmax(-1)
    out = torch.bmm(
        weights[..., :here].reshape(rows * heads, asking, here),
        values.index_select(0, index).view(rows * heads, here, -1),
    ).view(rows, heads, asking, -1)
    if len(common):
        there = parts[1].shape[-1]
        pooled = (
            weights[..., here : here + there].transpose(0, 1).reshape(heads, rows * asking, there)
        )
        found = torch.bmm(pooled, values.index_select(0, common).view(heads, there, -1))
        out = out + found.view(heads, rows, asking, -1).transpose(0, 1)
    return out


def _scores(
    query: torch.Tensor, keys: torch.Tensor, scale: float, softcap: float | None
) -> torch.Tensor:
    """(batch, queries, positions) of (batch, queries, width) and (batch, positions, width)."""
    ignored = query.new_zeros(1, 1, 1)  # `bmm` cannot scale its products, this can
    if softcap is None:
        return torch.baddbmm(ignored, query, keys.transpose(1, 2), beta=0, alpha=scale)
    return (
        torch.baddbmm(ignored, query, keys.transpose(1, 2), beta=0, alpha=scale / softcap)
        .tanh_()
        .mul_(softcap)
    )
