"""The compiled kernels use as many threads as torch was told, from any thread's first call on."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worker.engine.attention.backend import LayerShape, Row, Step
from worker.engine.attention.native import Native
from worker.engine.kernels.library import Library, load
from worker.engine.kernels.packed import PackedLinear


def a_product(library: Library) -> None:
    PackedLinear(library, torch.ones(3, 4).bfloat16()).product(torch.ones(2, 4).bfloat16())


def a_step(library: Library) -> None:
    zero, bounds = torch.zeros(1, dtype=torch.int64), torch.tensor([0, 1], dtype=torch.int32)
    row, table = Row(0, 0, 1, [1]), torch.ones(1, 1, dtype=torch.int32)
    native = Native({0: LayerShape(1, 32, 32)}, blocks=2, library=library)
    native.begin(Step([row], 1, zero, zero, zero, bounds, bounds[1:], table, zero))


@pytest.mark.parametrize("use", [a_product, a_step])
def test_a_threads_first_call_knows_how_many_threads_there_are(
    use: Callable[[Library], None],
) -> None:
    library = load()
    if library is None:
        pytest.skip("this machine has no compiled kernels")
    maps = Path("/proc/self/maps").read_text().splitlines()
    openmp = ctypes.CDLL(next(line.split()[-1] for line in maps if "libgomp" in line))
    found: list[int] = []

    def first_call() -> None:
        use(library)
        found.append(openmp.omp_get_max_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(before + 3)
    try:
        thread = threading.Thread(target=first_call)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert found == [before + 3]
