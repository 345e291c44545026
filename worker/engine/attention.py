"""The attention that the models' own modules call: writes keys and values into the paged cache, attends row by row.

Registered once with transformers under `NAME`. It finds the step it works for in a thread-local, not in forwarded
arguments, because several families pass none on. The model runs packed, one row of tokens `[1, tokens]`; who may see
whom comes from the layout alone.
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

from .kernels import decode_attention
from .kv import DecodeGroup, LayerCache, LayerShape, PrefillRow, StepLayout

NAME = "promptmill"
# Scores of a prefill row in a short type up to which plain products beat the kernel that never stores them (measured:
# by a third; docs/log.md).
PRODUCT_SCORES = 4_000_000


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
    """Within, forward passes cache nothing; the shapes of each layer's keys and values are noted instead."""
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
    how = How(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap, s_aux)
    if _here.shapes is not None:
        if layer in _here.shapes:
            raise ValueError(f"layer {layer} attends twice in one pass")
        plain = softcap is None and s_aux is None
        _here.shapes[layer] = LayerShape(key.shape[1], key.shape[-1], value.shape[-1], plain, how.scale, how.window)
        row = PrefillRow(0, query.shape[2], 0, torch.empty(0, dtype=torch.int64, device=query.device))
        return _prefill(row, query[0], key[0], value[0], how).transpose(0, 1)[None], None
    return attend(layer, query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), how)[None], None


def attend(
    layer: int,
    query: torch.Tensor,  # (tokens, heads, key_width)
    key: torch.Tensor,  # (tokens, kv heads, key_width)
    value: torch.Tensor,  # (tokens, kv heads, value_width)
    how: How,
) -> torch.Tensor:
    """(tokens, heads, value_width): keep this step's keys and values, then let every token see what it may."""
    layout = _here.layout
    assert layout is not None, "the model ran outside a step"
    if not isinstance(layout, StepLayout):
        return layout.attend(layer, query, key, value, how.scale, how.window)
    cache = layout.caches[layer]
    index = layout.write_index(cache.shape.heads)
    for flat, new in ((cache.keys, key), (cache.values, value)):
        width = flat.shape[-1]
        flat.view(-1, width).index_copy_(0, index, new.reshape(-1, width))

    parts = [_decode(group, query.index_select(0, group.places), cache, how) for group in layout.decode]
    for row in layout.prefill:
        inside = slice(row.first, row.first + row.count)
        keys, values = key[inside].transpose(0, 1), value[inside].transpose(0, 1)
        if row.start:
            keys, values = _gather(row, cache)
        parts.append(_prefill(row, query[inside].transpose(0, 1), keys, values, how).transpose(0, 1))
    out = torch.cat(parts) if len(parts) > 1 else parts[0]
    return out if layout.order is None else out.index_select(0, layout.order)


def _decode(
    group: DecodeGroup,
    query: torch.Tensor,  # (rows, heads, key_width)
    cache: LayerCache,
    how: How,
) -> torch.Tensor:
    """(rows, heads, value_width). The query heads that share a KV head are laid out as its query rows."""
    rows, heads, width = query.shape
    grouped = query.reshape(rows, cache.shape.heads, -1, width)
    if how.window is not None:
        group = group.unshared()
    index, common = group.read_index(cache.shape.heads)
    bias = group.bias(how.window, cache.shape.heads, query.dtype)
    out = decode_attention(grouped, cache.keys, cache.values, index, bias, common, how.scale, how.softcap, how.sinks)
    return out.reshape(rows, heads, -1)


def _gather(row: PrefillRow, cache: LayerCache) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys and values (kv heads, start + count, width) of a row, this step's included."""
    heads, index = cache.shape.heads, row.read_index(cache.shape.heads)
    keys = cache.keys.index_select(0, index).view(heads, -1, cache.shape.key_width)
    values = cache.values.index_select(0, index).view(heads, -1, cache.shape.value_width)
    return keys[:, : row.total], values[:, : row.total]


def _prefill(
    row: PrefillRow,
    query: torch.Tensor,  # (heads, count, key_width)
    key: torch.Tensor,  # (kv heads, start + count, key_width)
    value: torch.Tensor,
    how: How,
) -> torch.Tensor:
    """(heads, count, value_width): several query tokens of one row, each sees what comes before it."""
    heads, count, width = query.shape
    shared = heads // len(key)
    plain = how.softcap is None and how.sinks is None
    if plain and row.start == 0 and (how.window is None or count <= how.window):
        if shared > 1:
            key, value = key.repeat_interleave(shared, 0), value.repeat_interleave(shared, 0)
        return scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True, scale=how.scale)[0]
    grouped = query.reshape(len(key), shared * count, width)  # the query heads of a KV head one after the other
    if plain:
        bias = row.bias(how.window, shared, query.dtype)
        if query.dtype != torch.float32 and len(key) * bias.numel() <= PRODUCT_SCORES:
            weights = torch.baddbmm(bias, grouped, key.transpose(1, 2), alpha=how.scale).softmax(-1)
            return torch.bmm(weights, value).reshape(heads, count, -1)
        out = scaled_dot_product_attention(grouped[None], key[None], value[None], attn_mask=bias, scale=how.scale)[0]
        return out.reshape(heads, count, -1)
    scores = (grouped @ key.transpose(1, 2) * how.scale).float()
    if how.softcap is not None:
        scores = how.softcap * torch.tanh(scores / how.softcap)
    scores = scores + row.bias(how.window, shared, scores.dtype)
    if how.sinks is not None:
        column = how.sinks.float().repeat_interleave(count).view(len(key), shared * count, 1)
        weights = torch.cat([scores, column], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return (weights.to(value.dtype) @ value).reshape(heads, count, -1)


AttentionInterface.register(NAME, paged_attention)
