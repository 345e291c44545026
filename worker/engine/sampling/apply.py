"""Writes the edits and the masks of all rows into their logits, in a few tensor operations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from worker.engine.arrays import to_device
from worker.engine.sampling.edits import Edits


def apply_edits(logits: torch.Tensor, rows: list[Edits]) -> None:
    """Write every row's edits into `logits` (rows, vocabulary), float32, in place."""
    edited = [(number, row) for number, row in enumerate(rows) if row.any]
    if biased := [(number, row.bias) for number, row in edited if len(row.bias)]:
        at = _places(logits, [(number, bias[:, 0]) for number, bias in biased])
        added = np.concatenate([bias[:, 1] for _, bias in biased])
        logits.view(-1).index_add_(0, at, to_device(added, logits.device, np.float32))
    if penalized := [
        (number, row) for number, row in edited if row.penalizes and len(row.seen_rows)
    ]:
        _penalize(logits, penalized)
    bans = [(number, banned) for number, row in edited if (banned := row.bans())]
    if bans:
        logits.view(-1).index_fill_(0, _places(logits, bans), -torch.inf)


def _penalize(logits: torch.Tensor, rows: list[tuple[int, Edits]]) -> None:
    """Write the penalties of these rows, each with its number."""
    at = _places(logits, [(number, row.seen_rows[:, 0]) for number, row in rows])
    lengths = [len(row.seen_rows) for _, row in rows]
    factors = np.array([row.penalties for _, row in rows], dtype=np.float32)
    repetition, presence, frequency = to_device(
        factors.T.repeat(lengths, axis=1), logits.device
    ).unbind()
    seen = np.concatenate([row.seen_rows[:, 1] for _, row in rows])
    times = to_device(seen, logits.device, np.float32)
    old = logits.view(-1).index_select(0, at)
    new = torch.where(old > 0, old / repetition, old * repetition)
    new = new - frequency * times - presence * (times > 0)
    logits.view(-1).index_copy_(0, at, new)


def _places(
    logits: torch.Tensor, rows: Sequence[tuple[int, np.ndarray | list[int]]]
) -> torch.Tensor:
    """Where these tokens of these rows are in the flat logits."""
    lengths = [len(tokens) for _, tokens in rows]
    begins = np.repeat([number * logits.shape[1] for number, _ in rows], lengths)
    tokens = np.concatenate([tokens for _, tokens in rows])
    return to_device(begins + tokens, logits.device, np.int64)


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
