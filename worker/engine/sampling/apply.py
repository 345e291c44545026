"""Writes the edits and the masks of all rows into their logits, in a few tensor operations."""

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


def forbidden(words: np.ndarray, vocabulary: int, device: torch.device) -> torch.Tensor:
    """Which tokens may not come, (rows, vocabulary) bool, from bits of those that may: `words`
    (rows, words) int32 as `grammar.py` has them."""
    if device.type == "cpu":
        bits = np.unpackbits(np.invert(words).view(np.uint8), axis=1, bitorder="little")
        return torch.from_numpy(bits[:, :vocabulary]).view(torch.bool)
    shifts = torch.arange(32, dtype=torch.int32, device=device)
    unpacked = to_device(np.invert(words), device)[:, :, None] >> shifts & 1
    return unpacked.view(len(words), -1)[:, :vocabulary].bool()
