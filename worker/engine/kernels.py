"""The seam for fast code: everything in the engine that is worth a kernel of its own goes through here.

Now: attention of rows with one query token.
"""

from __future__ import annotations

import torch


def decode_attention(
    query: torch.Tensor,  # (rows, kv heads, query heads per kv head, key_width)
    keys: torch.Tensor,  # (blocks * kv heads, size, key_width)
    values: torch.Tensor,  # (blocks * kv heads, size, value_width)
    table: torch.Tensor,  # (rows, most blocks)
    lengths: torch.Tensor,  # (rows,)
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,  # (query heads,)
) -> torch.Tensor:
    """Attention of one query token per row over its blocks: (rows, kv heads, query heads per kv head, value_width)."""
    rows, heads, shared, width = query.shape
    head = torch.arange(heads, device=table.device)
    index = (table[:, None, :] * heads + head[:, None]).reshape(-1)  # (rows * kv heads * blocks,)
    gathered = keys.index_select(0, index).view(rows * heads, -1, width)
    scores = torch.bmm(query.reshape(rows * heads, shared, width), gathered.transpose(1, 2)).float() * scale
    scores = scores.view(rows, heads, shared, -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    position = torch.arange(scores.shape[-1], device=table.device)
    visible = position < lengths[:, None]
    if window is not None:
        visible &= position >= lengths[:, None] - window
    scores = scores.masked_fill(~visible[:, None, None, :], -torch.inf)
    if sinks is not None:
        column = sinks.float().view(1, heads, shared, 1).expand(rows, -1, -1, -1)
        weights = torch.cat([scores, column], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    gathered = values.index_select(0, index).view(rows * heads, -1, values.shape[-1])
    return torch.bmm(weights.to(values.dtype).view(rows * heads, shared, -1), gathered).view(rows, heads, shared, -1)
