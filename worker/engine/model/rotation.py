"""The cosines and sines of a model's rotary embedding, position by position.

They come from the model's own module, in pieces that are always the same: so a position has the
same numbers whatever step it is computed in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

# Positions asked of the module at once: so few that torch computes them in one thread, and their
# last bits do not depend on how many there are.
PIECE = 128

Rotary = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Rotation:
    """Tables `cosines` and `sines` (positions, width / 2), float32, that grow as positions are
    reached.

    Raises:
        ValueError: the module does not rotate a head's first half against its second.
    """

    def __init__(self, rotary: Rotary, width: int):
        self._rotary = rotary
        self._width = width
        self.cosines = torch.empty(0, width // 2)
        self.sines = torch.empty(0, width // 2)
        self.reach(1)

    def reach(self, positions: int) -> None:
        """Have at least so many."""
        held = len(self.cosines)
        if positions <= held:
            return
        pieces = -(-max(positions, 2 * held) // PIECE)
        found = [self._piece(first) for first in range(held, pieces * PIECE, PIECE)]
        cosines, sines = zip(*found, strict=True)
        self.cosines = torch.cat((self.cosines, *cosines))
        self.sines = torch.cat((self.sines, *sines))

    def _piece(self, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        exact = torch.empty(1, PIECE, 1)  # of which the module only reads type and device
        positions = torch.arange(first, first + PIECE)[None]
        parts = [part[0] for part in self._rotary(exact, positions)]
        halves = [part.tensor_split(2, -1) for part in parts]
        if any(
            part.shape != (PIECE, self._width) or not torch.equal(*both)
            for part, both in zip(parts, halves, strict=True)
        ):
            raise ValueError("its rotary embedding is not as Llama's")
        cosines, sines = (left for left, _ in halves)
        return cosines, sines
