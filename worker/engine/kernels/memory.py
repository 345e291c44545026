"""Memory in huge pages for what a model's steps read: packed weights, keys and values.

A row alone reads every weight once; with pages of 4 KiB finding them takes almost as long.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import torch

PAGE = 2 << 20  # bytes of a huge page
CHUNK = 32 << 20  # bytes that an arena reserves at a time
ALIGNMENT = 64  # bytes: a cache line


def zeroed(size: int) -> torch.Tensor:
    """(size,) bytes, all zero, beginning at a huge page where the system has them.

    They take memory when they are first used, and give it back with the last view of the tensor.
    """
    room = -(-size // PAGE) * PAGE
    memory = mmap.mmap(-1, room + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # a system without huge pages: small ones do as well
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    begin = -whole.data_ptr() % PAGE
    return whole[begin : begin + size]


class Arena:
    """Gives out memory side by side, so that small pieces share huge pages."""

    def __init__(self) -> None:
        self._rest = torch.empty(0, dtype=torch.uint8)

    def take(self, size: int) -> torch.Tensor:
        """(size,) zero bytes that nothing else uses, at a multiple of `ALIGNMENT`."""
        room = -(-size // ALIGNMENT) * ALIGNMENT
        if room > len(self._rest):
            self._rest = zeroed(max(room, CHUNK))
        piece, self._rest = self._rest[:size], self._rest[room:]
        return piece
