"""What a decoder layer computes besides its linear layers, in torch: the norm, the rotary
embedding, the gated activation, and the attention of rows over their blocks of the cache.
"""

from __future__ import annotations

import torch
from torch.nn.functional import silu

COMPOSED_NORM = 100_000  # elements (measured; docs/log/engine.md)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last dimension; `weight` holds the weight twice,
    one copy behind the other.

    On the CPU torch composes this norm of seven operations, but has one kernel for the layer norm,
    which computes the same for (x, -x): their mean is 0 and their variance is the mean square of x.
    For many tokens in a 16-bit type the seven operations are faster, because copying all of them
    once more takes longer.
    """
    width = x.shape[-1]
    if x.is_cuda:  # where torch has one kernel for it
        return torch.rms_norm(x, [width], weight[:width], eps)
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

    The blocks that all rows share are read once, by one matrix product for all rows. Torch computes
    the softmax of a 16-bit type in float32, so nothing is converted for it.
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
    ignored = query.new_zeros(1, 1, 1)  # `baddbmm` scales the products, `bmm` cannot
    if softcap is None:
        return torch.baddbmm(ignored, query, keys.transpose(1, 2), beta=0, alpha=scale)
    return (
        torch.baddbmm(ignored, query, keys.transpose(1, 2), beta=0, alpha=scale / softcap)
        .tanh_()
        .mul_(softcap)
    )
