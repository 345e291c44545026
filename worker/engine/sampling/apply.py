"""Writes the edits of all rows into their logits, in a few tensor operations."""

from __future__ import annotations

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
