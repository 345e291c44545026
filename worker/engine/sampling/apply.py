"""Writes the edits and the masks of all rows into their logits, in a few tensor operations."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from worker.engine.arrays import to_device
from worker.engine.sampling.edits import Edits


def apply_edits(logits: torch.Tensor, rows: list[Edits]) -> None:
    """Write every row's edits into `logits` (rows, vocabulary), float32, in place."""
    if not any(row.any for row in rows):
        return
    if any(len(row.bias) for row in rows):
        where = np.concatenate([np.full(len(row.bias), number) for number, row in enumerate(rows)])
        bias = np.concatenate([row.bias for row in rows])
        index = to_device(where, logits.device), to_device(bias[:, 0], logits.device, np.int64)
        logits.index_put_(index, to_device(bias[:, 1], logits.device, np.float32), accumulate=True)
    penalized = [
        (number, row) for number, row in enumerate(rows) if row.penalizes and len(row.seen_rows)
    ]
    if penalized:
        lengths = [len(row.seen_rows) for _, row in penalized]
        where = np.repeat([number for number, _ in penalized], lengths)
        seen = np.concatenate([row.seen_rows for _, row in penalized])
        factors = np.repeat(
            np.array([row.penalties for _, row in penalized], dtype=np.float32), lengths, axis=0
        )
        repetition, presence, frequency = to_device(factors, logits.device).unbind(1)
        times = to_device(seen[:, 1], logits.device, np.float32)
        index = to_device(where, logits.device), to_device(seen[:, 0], logits.device)
        old = logits[index]
        new = torch.where(old > 0, old / repetition, old * repetition)
        logits.index_put_(index, new - frequency * times - presence * (times > 0))
    bans = [(number, token) for number, row in enumerate(rows) if row.any for token in row.bans()]
    if bans:
        at, banned = (
            to_device(np.array(column), logits.device) for column in zip(*bans, strict=True)
        )
        logits.index_put_((at, banned), logits.new_tensor(float("-inf")))


def apply_masks(logits: torch.Tensor, rows: list[int], words: np.ndarray) -> None:
    """Make all tokens of these rows of `logits` (rows, vocabulary) impossible, in place, except
    those whose bit is set in `words` (len(rows), words) int32, as `grammar.py` has them.

    Adds 0 or minus infinity, eight tokens at a time: filling by a mask takes several times as long
    where allowed and other tokens alternate.
    """
    if not rows:
        return
    eights = to_device(words.view(np.uint8).reshape(-1), logits.device, np.int32)
    added = _added_by_bytes(logits.device, logits.dtype).index_select(0, eights).view(len(rows), -1)
    where = to_device(np.array(rows, dtype=np.int64), logits.device)
    logits.index_add_(0, where, added[:, : logits.shape[1]])


@cache
def _added_by_bytes(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(256, 8): what the eight bits of each byte add to the logits of their tokens."""
    bits = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return torch.where(bits.bool(), 0.0, -torch.inf).to(device, dtype)
