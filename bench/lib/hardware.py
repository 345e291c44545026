"""What the machine can do: the best rate of matrix products, and of reading memory."""

from __future__ import annotations

import time

import torch

CPU = torch.device("cpu")


def gemm_rate(dtype: torch.dtype) -> float:
    """The best rate of a matrix product of the model's kind, FLOP/s."""
    best = 0.0
    weight = torch.randn(1536, 576).to(dtype)
    for rows in (128, 256, 512, 1024):
        x = torch.randn(rows, 576).to(dtype)
        for _ in range(50):
            began = time.perf_counter()
            torch.nn.functional.linear(x, weight)
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
    read per second."""

    def __init__(self, dtype: torch.dtype):
        self._dtype = dtype
        self.rates: list[float] = []
        self.reads: list[float] = []

    def measure(self) -> None:
        self.rates.append(gemm_rate(self._dtype))
        self.reads.append(bandwidth())
