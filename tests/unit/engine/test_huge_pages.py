"""Memory in huge pages is zero, aligned, nobody else's, and given back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worker.engine.kernels.memory import ALIGNMENT, CHUNK, PAGE, Arena, zeroed


def test_pieces_of_an_arena_are_zero_aligned_and_apart() -> None:
    arena = Arena()
    pieces = [arena.take(size) for size in (1, 64, 65, 1000, CHUNK - 100, CHUNK + 1, 0, 3)]
    for number, piece in enumerate(pieces, 1):
        assert not piece.any()
        assert piece.data_ptr() % ALIGNMENT == 0
        piece.fill_(number)
    assert all((piece == number).all() for number, piece in enumerate(pieces, 1))
    assert [len(piece) for piece in pieces] == [1, 64, 65, 1000, CHUNK - 100, CHUNK + 1, 0, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_goes_back_with_the_last_view_of_it() -> None:
    def reserved() -> int:  # bytes
        return int(Path("/proc/self/statm").read_text().split()[0]) * 4096

    before = reserved()
    memory = zeroed(1 << 30)
    assert memory.data_ptr() % PAGE == 0
    view = memory[5:9]
    del memory
    assert reserved() - before >= 1 << 30
    view.fill_(1)
    del view
    assert reserved() - before < 1 << 29
