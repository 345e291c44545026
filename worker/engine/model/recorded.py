"""Decode steps recorded once as CUDA graphs, and replayed.

A decode step has one token for each row. Steps of several numbers of rows are recorded; one with
fewer rows is padded to the next size. Without a GPU the same bookkeeping runs, so that it can be
tested, and every step is computed anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from worker.engine.attention.backend import Step

log = logging.getLogger(__name__)

MOST_ROWS = 512  # larger steps launch their kernels one by one, which their length hides

Compute = Callable[[Step], torch.Tensor]


def record(
    compute: Compute, blank: Callable[[int], Step], rows: int, device: torch.device
) -> dict[int, Recorded]:
    """Recorded steps by their numbers of rows, up to `rows`; none if the model cannot be recorded.

    `blank` makes a decode step of so many rows without a sequence.
    """
    recorded: dict[int, Recorded] = {}
    try:
        pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        # The largest first: the others fit into its memory.
        for size in reversed(sizes(min(rows, MOST_ROWS))):
            recorded[size] = Recorded(compute, blank(size), pool)
    except Exception as error:
        # A model whose work depends on its data cannot be recorded; it runs all the same.
        log.warning(
            "decode steps run unrecorded, which is slower: %s: %s", type(error).__name__, error
        )
        return {}
    return recorded


class Recorded:
    """One decode step with its inputs and outputs at fixed places in memory. On CUDA all its
    kernels are replayed in one launch."""

    def __init__(self, compute: Callable[[Step], torch.Tensor], blank: Step, pool: Any):
        self._step = blank
        self._compute = compute
        self._graph: torch.cuda.CUDAGraph | None = None
        if blank.ids.device.type == "cuda":
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            # What kernels choose or allocate at their first calls is not to be recorded.
            with torch.cuda.stream(side):
                for _ in range(2):
                    compute(blank)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool):
                self._logits = compute(blank)

    def run(self, step: Step) -> torch.Tensor:
        """(rows of the recording, vocabulary)."""
        self._step.overwrite(step)
        if self._graph is None:
            return self._compute(self._step)
        self._graph.replay()
        return self._logits


def sizes(most: int) -> list[int]:
    """Rows of the recorded steps: powers of two, then every 32, so that padding stays small; up to
    `most`."""
    sizes = [size for size in (1, 2, 4, 8, 16, *range(32, most, 32)) if size < most]
    return [*sizes, most]
