"""Compiled attention beside the gathering one of torch, at the demo model's shapes: `python -m
bench.lib.attention`.

A round stores and attends in every layer of a step: rows of one token at two contexts, a chunk that
begins a prompt, and rows that share their first 400 tokens. The ways take turns; of each the
fastest round counts, since other programs only slow one down. With `--threads 1` it is the thread's
own time, which can be measured on a busy machine too.

    ms         of a round, for each step
    gb_per_s   of keys and values that the compiled attention reads in it, shared ones once a row
    gflops     10^9 useful operations a second in it
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import worker.engine  # noqa: F401  # isort: skip - before torch: see there
import torch

from bench.lib.kernel_bench import run
from worker.engine.attention.backend import AttentionBackend, How, LayerShape, lay_out
from worker.engine.attention.gather import Gather
from worker.engine.attention.native import SIZE, Native
from worker.engine.kernels.library import Library

LAYERS = 30
HEADS, GROUP, WIDTH = 3, 3, 64  # kv heads, query heads of each, elements of a head
BLOCKS = 128 * 33
ROUNDS = 7
CPU = torch.device("cpu")
HOW = How(WIDTH**-0.5)


@dataclass(frozen=True)
class Case:
    """`rows` rows that compute their last `new` of `context` tokens; all begin with the same
    `shared` ones."""

    rows: int
    context: int
    new: int = 1
    shared: int = 0

    @property
    def name(self) -> str:
        if self.new > 1:
            return f"chunk of {self.new}"
        shared = f", {self.shared} of them shared" if self.shared else ""
        return f"{self.rows} rows, {self.context} tokens{shared}"

    @property
    def pairs(self) -> int:
        """(token, token that it sees), over all rows."""
        return self.rows * sum(range(self.context - self.new + 1, self.context + 1))

    def blocks(self) -> list[list[int]]:
        """Those of each row. A row's lie apart, as they do after a while of running."""
        common, count = self.shared // SIZE, -(-self.context // SIZE)
        return [
            [
                place if place < common else (common + place * self.rows + row) % BLOCKS
                for place in range(count)
            ]
            for row in range(self.rows)
        ]


CASES = (
    *(Case(rows, context) for context in (130, 512) for rows in (1, 32, 128)),
    Case(1, 1024, new=1024),
    *(Case(rows, 465, shared=400) for rows in (32, 128)),
)


def measure(library: Library) -> dict[str, Any]:
    ways = backends(library)
    return figures({case: fastest(ways, case) for case in CASES})


def backends(library: Library) -> dict[str, AttentionBackend]:
    """Both, with numbers in every place of their caches."""
    shapes = {layer: LayerShape(HEADS, WIDTH, WIDTH) for layer in range(LAYERS)}
    compiled = Native(shapes, blocks=BLOCKS, library=library)
    gathering = Gather(shapes, blocks=BLOCKS, size=SIZE, dtype=torch.bfloat16, device=CPU)
    units = [cache.units for cache in compiled.caches.values()]
    halves = [half for cache in gathering.caches.values() for half in (cache.keys, cache.values)]
    for held in (*units, *halves):
        held.normal_()
    return {"torch": gathering, "compiled": compiled}


def fastest(ways: dict[str, AttentionBackend], case: Case) -> dict[str, float]:
    """The seconds of each way's fastest round."""
    start = case.context - case.new
    step = lay_out(
        [[0] * case.new] * case.rows,
        [(blocks, start) for blocks in case.blocks()],
        [],
        size=SIZE,
        device=CPU,
    )
    tokens = case.rows * case.new
    query = torch.randn(tokens, HEADS * GROUP, WIDTH).bfloat16()
    key, value = torch.randn(2, tokens, HEADS, WIDTH).bfloat16()
    took: dict[str, list[float]] = {way: [] for way in ways}
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(ROUNDS):
        for way, backend in ways.items():
            began = clock()
            attention = backend.begin(step)
            for layer in range(LAYERS):
                attention.attend(layer, query, key, value, HOW)
            took[way].append(clock() - began)
    return {way: min(found) for way, found in took.items()}


def figures(seconds: dict[Case, dict[str, float]]) -> dict[str, object]:
    compiled = {case: ways["compiled"] for case, ways in seconds.items()}
    numbers = 2 * LAYERS * HEADS * WIDTH  # of the keys and values of a token
    return {
        "ms": {
            case.name: {way: round(took * 1e3, 2) for way, took in ways.items()}
            for case, ways in seconds.items()
        },
        "gb_per_s": {
            case.name: round(2e-9 * numbers * case.rows * case.context / took, 1)
            for case, took in compiled.items()
            if case.new == 1
        },
        "gflops": {
            case.name: round(2e-9 * numbers * GROUP * case.pairs / took)
            for case, took in compiled.items()
        },
    }


if __name__ == "__main__":
    run("attention", "Compiled attention beside torch's.", measure)
