"""What the machine can do: the best rate of matrix products, and of reading memory."""

from __future__ import annotations

import time
from functools import partial

import torch
from torch.nn.functional import linear

from worker.engine.kernels.library import Library
from worker.engine.kernels.packed import PackedLinear

CPU = torch.device("cpu")


def gemm_rate(dtype: torch.dtype, library: Library | None = None) -> float:
    """The best rate of a matrix product of the model's kind, FLOP/s: torch's, or that of the
    compiled kernels."""
    best = 0.0
    weight = torch.randn(1536, 576).to(dtype)
    product = PackedLinear(library, weight).product if library else partial(linear, weight=weight)
    for rows in (128, 256, 512, 1024):
        x = torch.randn(rows, 576).to(dtype)
        for _ in range(50):
            began = time.perf_counter()
            product(x)
            best = max(best, 2 * rows * 576 * 1536 / (time.perf_counter() - began))
    return best


def bandwidth(where: torch.device = CPU, repeats: int = 5) -> float:
    """Bytes per second that torch reads while it sums 1 GB of float32."""
    data = torch.ones(250_000_000, device=where)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        data.sum().item()  # which waits for the device
        times.append(time.perf_counter() - began)
    return 1e9 / min(times)


class Machine:
    """What the machine can do, measured again each round: FLOP/s of products in `dtype` and bytes
    read per second. The products are torch's and, where there are kernels of our own, theirs too:
    the better of the two is the peak."""

    def __init__(self, dtype: torch.dtype, library: Library | None):
        self._dtype = dtype
        self._library = library
        self.rates: list[float] = []
        self.reads: list[float] = []

    def measure(self) -> None:
        self.rates.append(gemm_rate(self._dtype))
        if self._library:
            self.rates.append(gemm_rate(self._dtype, self._library))
        self.reads.append(bandwidth())
