"""One packed forward pass: rows of tokens in, logits out. Knows the model and its cache, not who
the rows are."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from worker.engine.attention.gather import LayerShape, allocate, lay_out
from worker.engine.attention.hook import attending
from worker.engine.model.llama import Decoder


class Forward:
    """The model's forward pass over packed tokens; attention goes where `attending` says."""

    def __init__(self, model: Any):
        self.device: torch.device = next(model.parameters()).device
        self.dtype = _cache_dtype(model)
        self._model = model
        self._keeps_some = "logits_to_keep" in inspect.signature(model.forward).parameters

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor
    ) -> torch.Tensor:
        """Logits (kept, vocabulary) at the places `keep` (kept,) of the tokens `ids` (tokens,)."""
        some = {"logits_to_keep": keep} if self._keeps_some else {}
        out = self._model(
            input_ids=ids[None], position_ids=positions[None], use_cache=False, **some
        )
        return out.logits[0] if self._keeps_some else out.logits[0, keep]


class Runner:
    """Runs anywhere: gathers what each row reads and attends by plain matrix products."""

    def __init__(
        self, forward: Forward | Decoder, shapes: dict[int, LayerShape], *, blocks: int, size: int
    ):
        self._forward = forward
        self._device = forward.device
        self._size = size
        self._caches = allocate(shapes, blocks, size, forward.dtype, self._device)

    def warm_up(self) -> None:
        """Fails loudly if the model cannot run."""
        self.logits([[0]], [([0], 0)], [0])

    def logits(
        self, tokens: list[list[int]], rows: list[tuple[list[int], int]], wanted: list[int]
    ) -> torch.Tensor:
        """Compute a step.

        `tokens` are each row's new tokens, `rows` their (blocks, position of the first); `wanted`
        are places among all new tokens in order. Returns the logits there, (wanted, vocabulary), in
        the model's dtype.
        """
        layout = lay_out(
            [(blocks, start, len(new)) for new, (blocks, start) in zip(tokens, rows, strict=True)],
            self._caches,
            self._size,
            self._device,
        )
        ids = np.concatenate([np.asarray(new, dtype=np.int64) for new in tokens])
        positions = np.concatenate(
            [
                np.arange(start, start + len(new))
                for new, (_, start) in zip(tokens, rows, strict=True)
            ]
        )
        # An empty list alone would be float.
        keep = torch.tensor(wanted, dtype=torch.int64, device=self._device)
        with torch.inference_mode(), attending(layout):
            return self._forward(_on(ids, self._device), _on(positions, self._device), keep)


def _cache_dtype(model: Any) -> torch.dtype:
    return next(
        parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()
    )


def _on(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device)
