"""Which cores and how many threads every contestant gets: the same for all."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class Cores:
    """`threads` that compute, and the `cores` that the process may run on."""

    threads: int
    cores: list[int]

    def check(self, told: dict[str, object]) -> None:
        """Raises RuntimeError where a contestant says that it has others."""
        if told != asdict(self):
            raise RuntimeError(f"a contestant has {told}, the others have {asdict(self)}")


def share_cores() -> Cores:
    """Bind this process, and so the processes that it starts, to as many cores as torch computes
    with: `OMP_NUM_THREADS`, by default all. Children get that number in their environment."""
    threads = torch.get_num_threads()
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return Cores(threads, cores)
