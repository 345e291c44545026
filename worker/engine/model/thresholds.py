"""The numbers of tokens past which a model computes in another way: they can be lowered, so that
short rows show what long ones would do.

A window of 4,096 tokens changes nothing about a row of ten. Rows longer than it would take minutes
at load, and may not fit in memory. The modules read such numbers from their config or from an
attribute of the same name at every pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOW = 3  # tokens
NAMES = (
    "sliding_window",
    "sliding_window_size",
    "attention_window_size",
    "attention_chunk_size",
    "keep_window_size",
    "index_topk",
    "index_topk_blocks",
    "floor_scale",
    "log_scaling_n_floor",
)


def longest_row(config: Any) -> float:
    """Tokens that a row may have; thresholds at or past it are never reached."""
    return getattr(config, "max_position_embeddings", None) or math.inf


def rotates_by_longest_row(config: Any) -> bool:
    """Whether the rotary embedding of all rows depends on the longest row of the batch."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type")} | {
        part.get("rope_type") for part in rope.values() if isinstance(part, dict)
    }
    return bool(kinds & {"dynamic", "longrope"})


@contextmanager
def lowered(model: Any) -> Iterator[set[str]]:
    """Within, thresholds that a row can pass are at `LOW` tokens; yields their names. Meanwhile no
    other thread may run the model."""
    longest = longest_row(model.config.get_text_config(decoder=True))
    holders = {
        id(held): held
        for module in model.modules()
        for held in (module, getattr(module, "config", None))
    }
    found = [
        (holder, name, value)
        for holder in holders.values()
        for name in NAMES
        if isinstance(value := getattr(holder, name, None), int) and LOW < value < longest
    ]
    try:
        for holder, name, _ in found:
            setattr(holder, name, LOW)
        yield {name for _, name, _ in found}
    finally:
        for holder, name, value in found:
            setattr(holder, name, value)
