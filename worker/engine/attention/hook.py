"""The attention function that Hugging Face modules call; transformers knows it as `NAME`.

It passes the call on to the attention of the current step. It finds that in a thread-local, because
several families forward no arguments of ours to their attention. The model runs packed, one row of
tokens `[1, tokens]`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import AttentionInterface

from worker.engine.attention.backend import How, LayerShape, StepAttention

NAME = "promptmill"


class _Here(threading.local):
    attention: StepAttention | None = None
    shapes: dict[int, LayerShape] | None = None


_here = _Here()


@contextmanager
def attending(attention: StepAttention) -> Iterator[None]:
    """Within, this thread's forward passes use `attention`."""
    _here.attention = attention
    try:
        yield
    finally:
        _here.attention = None


@contextmanager
def observing() -> Iterator[dict[int, LayerShape]]:
    """Within, this thread's forward passes store nothing and attend to nothing; the shapes of each
    layer's keys and values are noted instead."""
    _here.shapes = {}
    try:
        yield _here.shapes
    finally:
        _here.shapes = None


def packed_attention(
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
    """(1, tokens, heads, value_width), and no attention weights."""
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
    attention = _here.attention
    assert attention is not None, "the model ran outside a step"
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    return attention.attend(layer, query, key, value, how)[None], None


AttentionInterface.register(NAME, packed_attention)
