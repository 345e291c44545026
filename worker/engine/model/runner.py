"""Computes steps: rows of tokens in, logits out. Composes a forward pass and an attention backend.

Knows nothing of requests: the caller says which blocks belong to which row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from worker.engine.attention.backend import AttentionBackend, Step, lay_out
from worker.engine.kernels.library import Library
from worker.engine.model.forward import Forward
from worker.engine.model.recorded import Recorded, record

TORCH = "torch"  # what computes where the compiled kernels do not


class Runner:
    """`rows` is how many a step may have at most. `blocks` and `attention.size` say how many tokens
    the cache holds.

    `kernels` names what computes, and `batch_invariant` says whether a row's logits have the same
    bits whatever else is in its steps. `library` has the compiled kernels, if it is they.
    """

    def __init__(
        self,
        forward: Forward,
        attention: AttentionBackend,
        *,
        blocks: int,
        rows: int,
        kernels: str = TORCH,
        batch_invariant: bool = False,
        library: Library | None = None,
    ):
        self.attention = attention
        self.blocks = blocks
        self.kernels = kernels
        self.batch_invariant = batch_invariant
        self.library = library
        self._forward = forward
        self._rows = rows
        self._recorded: dict[int, Recorded] = {}

    @property
    def parts(self) -> dict[str, str | int]:
        """What computes, the forward pass and the attention backend by name, and how many decode
        steps are recorded."""
        return {
            "kernels": self.kernels,
            "forward": self._forward.name,
            "attention": self.attention.name,
            "recorded_sizes": len(self._recorded),
        }

    def warm_up(self) -> None:
        """Compute a first step, and record decode steps where the backend allows it.

        Raises:
            Exception: the model cannot run here.
        """
        self.logits([[0]], [([self.attention.scratch], 0)], [0])
        if self.attention.records:
            self._recorded = record(self._compute, self._blank, self._rows, self._forward.device)

    def logits(
        self,
        tokens: Sequence[list[int]],
        rows: Sequence[tuple[list[int], int]],
        wanted: Sequence[int],
    ) -> torch.Tensor:
        """Compute a step.

        `tokens` are each row's new tokens, `rows` their (blocks, position of the first); `wanted`
        are places among all new tokens in order. Returns the logits there, (wanted, vocabulary), in
        float32 or the model's dtype; those of a recorded step are overwritten by the next step.
        """
        size = self._recorded_size(tokens, wanted) if self._recorded else None
        if size is None:
            return self._compute(self._lay_out(tokens, rows, wanted))
        more_tokens, more_rows = self._padding(size - len(rows))
        step = self._lay_out([*tokens, *more_tokens], [*rows, *more_rows], range(size))
        return self._recorded[size].run(step)[: len(rows)]

    def _recorded_size(self, tokens: Sequence[list[int]], wanted: Sequence[int]) -> int | None:
        """The rows of the recorded step that can compute this one; None if none can."""
        rows = len(tokens)
        if list(wanted) != list(range(rows)) or any(len(new) != 1 for new in tokens):
            return None
        return min((size for size in self._recorded if size >= rows), default=None)

    def _padding(self, rows: int) -> tuple[list[list[int]], list[tuple[list[int], int]]]:
        """Tokens and blocks of `rows` rows without a sequence."""
        return [[0]] * rows, [([self.attention.scratch], 0)] * rows

    def _blank(self, rows: int) -> Step:
        return self._lay_out(*self._padding(rows), range(rows))

    def _lay_out(
        self,
        tokens: Sequence[list[int]],
        rows: Sequence[tuple[list[int], int]],
        wanted: Sequence[int],
    ) -> Step:
        return lay_out(
            tokens,
            rows,
            wanted,
            size=self.attention.size,
            device=self._forward.device,
            width=self.attention.width,
            filler=self.attention.scratch,
        )

    def _compute(self, step: Step) -> torch.Tensor:
        with torch.inference_mode():
            return self._forward(step, self.attention.begin(step))
