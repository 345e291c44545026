"""Draws the next tokens of all rows in one call of the compiled kernels (`source/draw.h`).

`sampling/sampler.py` says what is drawn. The compiled code also writes edits and masks, into a copy
of the logits, and finds log-probabilities.
"""

from __future__ import annotations

import numpy as np
import torch

from worker.engine.kernels.library import Library
from worker.engine.kernels.signatures import DRAW, LIKELY
from worker.engine.sampling.edits import Edits
from worker.engine.sampling.knobs import Knobs

# What `pm_draw` returns.
FAULTS: dict[int, tuple[type[Exception], str]] = {
    1: (MemoryError, "no memory is left for drawing tokens"),
    2: (IndexError, "a token id of a bias, a penalty or a ban is not in the model's vocabulary"),
}


class Draws:
    """Rows that are drawn together. What they are described with must not be changed before `run`,
    which fills in `tokens`, `largest`, `highest`, `logprobs` and `likeliest`."""

    def __init__(self, knobs: Knobs, logits: torch.Tensor):
        """Of `logits` (rows, vocabulary) float32.

        Raises:
            ValueError: they are of another shape, type or layout.
        """
        count, self._vocabulary = logits.shape
        if count != len(knobs.top_k) or logits.dtype != torch.float32 or logits.stride(1) != 1:
            raise ValueError(
                f"{logits.dtype} of shape {tuple(logits.shape)} where float32 in "
                f"{len(knobs.top_k)} rows, the numbers of each side by side, is needed"
            )
        self._held: list[np.ndarray | torch.Tensor] = [logits]  # whose addresses the rows have
        self._rows = rows = np.zeros(count, DRAW)
        apart = logits.stride(0) * logits.element_size()
        rows["logits"] = logits.data_ptr() + np.arange(count, dtype=np.uintp) * apart
        for name in Knobs.__slots__:
            rows[name] = getattr(knobs, name)
        rows["top_k"][~knobs.limits_k(self._vocabulary)] = 0
        rows["alternatives"] = -1
        self.tokens: np.ndarray = rows["token"]
        self.largest: np.ndarray = rows["largest"]  # of the logits; NaN if one is NaN
        self.highest: np.ndarray = rows["highest"]  # after edits and masks
        self.logprobs: np.ndarray = rows["logprob"]  # of the tokens, before edits and masks
        self.likeliest: dict[int, np.ndarray] = {}  # by row, (alternatives,) of LIKELY

    def edit(self, number: int, edits: Edits) -> None:
        """Apply these edits to a row."""
        row = self._rows[number]
        if len(edits.bias):
            row["bias"], row["biases"] = self._address(edits.bias)
        if edits.penalizes:
            row["repetition"], row["presence"], row["frequency"] = edits.penalties
            row["seen"], row["sightings"] = self._address(edits.seen_rows)
        if bans := edits.bans():
            row["banned"], row["bans"] = self._address(np.array(bans, dtype=np.int64))

    def allow(self, numbers: list[int], words: np.ndarray) -> None:
        """Leave these rows only the tokens whose bits are set in `words` (rows, words) int32, as
        `grammar.py` has them."""
        if not numbers:
            return
        begin, _ = self._address(words)
        self._rows["allowed"][numbers] = begin + words.strides[0] * np.arange(len(words))

    def score(self, number: int, alternatives: int) -> None:
        """Find a row's log-probabilities: that of its token, and those of the likeliest tokens."""
        self.likeliest[number] = found = np.zeros(min(alternatives, self._vocabulary), LIKELY)
        row = self._rows[number]
        row["likeliest"], row["alternatives"] = self._address(found)

    def run(self, library: Library, uniform: np.ndarray, numbers: list[int] | None = None) -> None:
        """Draw all rows, or those of these `numbers`, each by its random number in `uniform`, as
        `sampler.sample` takes them.

        Raises:
            IndexError: an edit's token is not in the vocabulary.
            MemoryError: there is none to draw in.
        """
        self._rows["uniform"] = uniform
        rows = self._rows if numbers is None else self._rows[numbers]
        torch.get_num_threads()  # which tells OpenMP, for this thread, what torch was told
        fault = library.functions.pm_draw(rows.ctypes.data, len(rows), self._vocabulary)
        if fault:
            error, what = FAULTS[fault]
            raise error(what)
        if numbers is not None:
            self._rows[numbers] = rows

    def _address(self, array: np.ndarray) -> tuple[int, int]:
        """Where an array begins, and how long it is."""
        self._held.append(array)
        return array.ctypes.data, len(array)
