"""Tiny models that the compiled kernels compute."""

from __future__ import annotations

from typing import Any

import torch

from tests.unit.engine.tiny import build
from worker.engine.attention.backend import LayerShape
from worker.engine.kernels.packed import Kind
from worker.engine.model.packable import probe

KINDS: tuple[Kind, ...] = ("bf16", "int8")


def small(family: str, *, width: int = 32, group: int = 2, heads: int = 2, **changes: Any) -> Any:
    """A random model in bfloat16 whose sizes fill no vector; `group` query heads share a key."""
    sizes = {
        "head_dim": width,
        "num_key_value_heads": heads,
        "num_attention_heads": heads * group,
        "hidden_size": 108,
        "intermediate_size": 150,
        "initializer_range": 0.1,
    }
    return build(family, **{**sizes, **changes}).to(torch.bfloat16)


def probed(model: Any) -> dict[int, LayerShape]:
    """The shapes of its layers; puts the model on our attention."""
    model.set_attn_implementation("eager")
    return probe(model)
