"""How much of a step is neither the model nor its cache: planning, drawing, texts, mail, in
Python and torch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch

from bench.lib.mixes import Mix
from bench.lib.ours import GREEDY, Ours


@dataclass(frozen=True)
class Computation:
    """A call for a step's logits, in seconds of one clock; `decoding` rows of a token each, 0 if
    the step had others."""

    began: float
    ended: float
    decoding: int


def outside(calls: list[Computation], rows: int) -> float:
    """Mean seconds between two successive computations, where both were of `rows` decoding rows."""
    gaps = [
        later.began - earlier.ended
        for earlier, later in itertools.pairwise(calls)
        if earlier.decoding == later.decoding == rows
    ]
    if not gaps:
        raise ValueError(f"no two successive steps of {rows} decoding rows")
    return fmean(gaps)


def step_outside_ms(bench: Ours, mix: Mix, repeats: int) -> float:
    """Milliseconds of a decode step of all rows of `mix` outside the runner's `logits`; the median
    of so many runs."""
    runner = bench.runner
    compute = runner.logits
    calls: list[Computation] = []

    def timed(
        tokens: Sequence[list[int]], rows: Sequence[tuple[list[int], int]], wanted: Sequence[int]
    ) -> torch.Tensor:
        began = time.perf_counter()
        logits = compute(tokens, rows, wanted)
        decoding = len(tokens) if all(len(new) == 1 for new in tokens) else 0
        calls.append(Computation(began, time.perf_counter(), decoding))
        return logits

    runner.logits = timed  # type: ignore[method-assign]
    found = []
    for _ in range(repeats):
        bench.forget()
        calls.clear()
        bench.run(mix, GREEDY)
        found.append(outside(calls, len(mix.prompts)))
    runner.logits = compute  # type: ignore[method-assign]
    return round(1000 * median(found), 2)
