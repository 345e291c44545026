"""Compiled matrix products beside torch's, at the demo model's shapes: `python -m
bench.lib.products`.

A round computes every linear layer of a step and the head, each from weights of its own, so that
one row reads them from memory. The three ways take turns, torch's `linear`, bf16 and int8 (which
quantises the rows too); of each the fastest round counts, since other programs only slow one down.
With `--threads 1` it is the thread's own time, which can be measured on a busy machine too.

    ms                of a round, for each number of rows
    gflops            10^9 useful operations a second in it
    gb_per_s_one_row  how fast a single row's weights are read
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import worker.engine  # noqa: F401  # isort: skip - before torch: see there
import torch
from torch.nn.functional import linear

from bench.lib.kernel_bench import run
from worker.engine.kernels.library import Library
from worker.engine.kernels.memory import Arena
from worker.engine.kernels.packed import FLOATS, HALVES, Kind, PackedLinear

LAYERS = 30
SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))  # (outs, ins) of a layer
HEAD = (49152, 576)
ALL = (*SHAPES * LAYERS, HEAD)
ROWS = (1, 8, 32, 128, 512)
ROUNDS = 7

Round = Callable[[int], None]  # computes a round of so many rows


def measure(library: Library) -> dict[str, Any]:
    ways = rounds(library)
    return figures({rows: fastest(ways, rows) for rows in ROWS})


def rounds(library: Library) -> dict[str, Round]:
    torch.manual_seed(1)
    weights = [torch.randn(shape).mul_(0.05).bfloat16() for shape in ALL]
    inputs = {ins: torch.randn(max(ROWS), ins).bfloat16() for _, ins in ALL}
    outputs = {outs: torch.empty(max(ROWS), outs, dtype=torch.bfloat16) for outs, _ in SHAPES}
    logits = torch.empty(max(ROWS), HEAD[0])

    def with_torch(rows: int) -> None:
        for weight in weights:
            linear(inputs[weight.shape[1]][:rows], weight)

    def compiled(kind: Kind) -> Round:
        arena = Arena()
        *body, head = [PackedLinear(library, one, kind=kind, arena=arena) for one in weights]

        def one_round(rows: int) -> None:
            for layer in body:
                layer.product(inputs[layer.ins][:rows], outputs[layer.outs][:rows], HALVES)
            head.product(inputs[head.ins][:rows], logits[:rows], FLOATS)

        return one_round

    return {"torch": with_torch, "bf16": compiled("bf16"), "int8": compiled("int8")}


def fastest(ways: dict[str, Round], rows: int) -> dict[str, float]:
    """The seconds of each way's fastest round."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(ROUNDS):
        for way, one_round in ways.items():
            began = clock()
            one_round(rows)
            took[way].append(clock() - began)
    return {way: min(found) for way, found in took.items()}


def figures(seconds: dict[int, dict[str, float]]) -> dict[str, object]:
    numbers = sum(outs * ins for outs, ins in ALL)  # a row multiplies and adds each once
    return {
        "ms": {
            rows: {way: round(took * 1e3, 2) for way, took in ways.items()}
            for rows, ways in seconds.items()
        },
        "gflops": {
            rows: {way: round(2e-9 * rows * numbers / took) for way, took in ways.items()}
            for rows, ways in seconds.items()
        },
        "gb_per_s_one_row": {
            way: round(numbers * (1 if way == "int8" else 2) / took * 1e-9, 1)
            for way, took in seconds[1].items()
        },
    }


if __name__ == "__main__":
    run("products", "Compiled matrix products beside torch's.", measure)
