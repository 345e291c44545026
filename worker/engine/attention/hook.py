"""The attention that the models' own modules call: writes keys and values into the paged cache,
attends in groups.

Registered once with transformers under `NAME`. It finds the step it works for in a thread-local,
not in forwarded arguments, because several families pass none on. The model runs packed, one row of
tokens `[1, tokens]`; who may see whom comes from the layout alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from worker.engine.attention.gather import Group, LayerCache, LayerShape, LongRow, StepLayout
from worker.engine.kernels.plain import block_attention

NAME = "promptmill"


@dataclass(frozen=True, slots=True)
class How:
    """How a layer weighs what its tokens may see."""

    scale: float
    window: int | None = None  # tokens that each sees, itself included
    softcap: float | None = None
    sinks: torch.Tensor | None = None  # (heads,) logits of attention sinks


class Attends(Protocol):
    """A step whose attention is computed elsewhere: `flash.Pages`."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # (tokens, heads, key_width)
        key: torch.Tensor,  # (tokens, kv heads, key_width)
        value: torch.Tensor,  # (tokens, kv heads, value_width)
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """(tokens, heads, value_width)"""
        ...


class _Here(threading.local):
    layout: StepLayout | Attends | None = None
    shapes: dict[int, LayerShape] | None = None


_here = _Here()


@contextmanager
def attending(layout: StepLayout | Attends) -> Iterator[None]:
    """Within, this thread's forward passes use `layout`."""
    _here.layout = layout
    try:
        yield
    finally:
        _here.layout = None


@contextmanager
def observing() -> Iterator[dict[int, LayerShape]]:
    """Within, forward passes cache nothing; the shapes of each layer's keys and values are noted
    instead."""
    _here.shapes = {}
    try:
        yield _here.shapes
    finally:
        _here.shapes = None


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, heads, tokens, key_width)
    key: torch.Tensor,  # (1, kv heads, tokens, key_width)
    value: torch.Tensor,  # (1, kv heads, tokens, value_width)
    _attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_others: object,
) -> tuple[torch.Tensor, None]:
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    how = How(
        query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap, s_aux
    )
    if _here.shapes is not None:
        if layer in _here.shapes:
            raise ValueError(f"layer {layer} attends twice in one pass")
        plain = softcap is None and s_aux is None
        _here.shapes[layer] = LayerShape(
            key.shape[1], key.shape[-1], value.shape[-1], plain, how.scale, how.window
        )
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[-1]), None
    return attend(
        layer, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), how
    )[None], None


def attend(
    layer: int,
    query: torch.Tensor,  # (tokens, heads, key_width)
    key: torch.Tensor,  # (tokens, kv heads, key_width)
    value: torch.Tensor,  # (tokens, kv heads, value_width)
    how: How,
) -> torch.Tensor:
    """(tokens, heads, value_width): keep this step's keys and values, then let every token see what
    it may."""
    layout = _here.layout
    assert layout is not None, "the model ran outside a step"
    if not isinstance(layout, StepLayout):
        return layout.attend(layer, query, key, value, how.scale, how.window)
    cache = layout.caches[layer]
    index = layout.write_index(cache.shape.heads)
    for flat, new in ((cache.keys, key), (cache.values, value)):
        width = flat.shape[-1]
        flat.view(-1, width).index_copy_(0, index, new.reshape(-1, width))

    parts = [_attend_together(group, query, cache, how) for group in layout.groups]
    parts += [_attend_alone(row, query, key, value, cache, how) for row in layout.long]
    out = torch.cat(parts) if len(parts) > 1 else parts[0]
    return out if layout.order is None else out.index_select(0, layout.order)


def _attend_together(
    group: Group, query: torch.Tensor, cache: LayerCache, how: How
) -> torch.Tensor:
    """(rows * queries, heads, value_width). The query heads that share a KV head are laid out as
    its query rows."""
    if how.window is not None:
        group = group.unshared()
    heads, queries = cache.shape.heads, group.queries
    asked = query.index_select(0, group.places).view(
        -1, queries, heads, query.shape[1] // heads, query.shape[2]
    )
    grouped = asked.permute(0, 2, 3, 1, 4).flatten(2, 3)
    index, common = group.read_index(heads)
    bias = group.bias(how.window, query.dtype)
    out = block_attention(
        grouped, cache.keys, cache.values, index, bias, common, how.scale, how.softcap, how.sinks
    )
    return out.reshape(len(group.first), query.shape[1], queries, -1).transpose(1, 2).flatten(0, 1)


def _attend_alone(
    row: LongRow,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cache: LayerCache,
    how: How,
) -> torch.Tensor:
    """(count, heads, value_width) by the fused kernel, which never stores the scores; it has no
    soft cap nor sinks."""
    inside = slice(row.first, row.first + row.count)
    heads = cache.shape.heads
    # The query heads of a KV head side by side.
    asked = query[inside].transpose(0, 1).unflatten(0, (heads, -1))
    mask = None
    keys, values = key[inside].transpose(0, 1), value[inside].transpose(0, 1)
    if row.start or (how.window is not None and row.count > how.window):
        index, mask = row.read_index(heads), row.bias(how.window, query.dtype)
        keys = cache.keys.index_select(0, index).view(heads, -1, keys.shape[-1])[:, : row.total]
        values = cache.values.index_select(0, index).view(heads, -1, values.shape[-1])[
            :, : row.total
        ]
    keys, values = (held[:, None].expand(-1, asked.shape[1], -1, -1) for held in (keys, values))
    out = scaled_dot_product_attention(
        asked, keys, values, attn_mask=mask, is_causal=mask is None, scale=how.scale
    )
    return out.flatten(0, 1).transpose(0, 1)


AttentionInterface.register(NAME, paged_attention)
