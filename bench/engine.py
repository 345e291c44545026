"""The engine beside what people would use instead, on this machine; the last line is JSON.

    python -m bench.engine [--model FOLDER] [--repeats 5] [--quick] [--torch] [--vllm PYTHON]

Contestants take turns, so that a noisy minute hits all of them; figures are medians. All have the
same cores and as many threads (`bench/lib/cores.py`). `--vllm` names the interpreter of an
environment that holds vLLM (also `PROMPTMILL_BENCH_VLLM`); without it vLLM's fields are null.
`--torch` allows a run without compiled kernels, whose fields of int8 are null. `--quick` is one
repeat without the slow peers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import worker.engine  # noqa: F401  # isort: skip - before torch: see there
import torch

from bench.lib import contestants, structured
from bench.lib.cores import share_cores
from bench.lib.hardware import Machine
from bench.lib.machine import commit, device
from bench.lib.mixes import Mix
from bench.lib.ours import GREEDY, Ours
from bench.lib.outside import step_outside_ms
from bench.lib.rates import rates
from bench.lib.shares import size_of
from bench.lib.targets import ENGINE, verdict
from bench.lib.turns import Contestant, take_turns
from common.errors import ConfigError
from common.model_names import demo_folder
from worker.devices import pick_dtype
from worker.engine.kernels.library import Library, load

CACHE = Path(os.environ.get("PROMPTMILL_CACHE", "~/.cache/promptmill"))
SLOTS = 128


def main() -> None:
    arguments = _arguments()
    cores = share_cores()
    dtype = pick_dtype("auto", torch.device("cpu"))
    kind = str(dtype).removeprefix("torch.")
    vocabulary = json.loads((arguments.model / "config.json").read_text())["vocab_size"]
    mixes = contestants.mixes(vocabulary)
    bench = Ours(arguments.model, kind, SLOTS, kernels="torch" if arguments.torch else "auto")
    library = None if bench.kernels == "torch" else load()
    if not library and not arguments.torch:
        sys.exit("no compiled kernels: `promptmill doctor` says why; --torch measures without")
    quantized = None if arguments.torch else _quantized(arguments.model, kind)
    vllms = (
        contestants.Vllms(arguments.vllm, arguments.model, kind, cores) if arguments.vllm else None
    )
    field = contestants.ours(bench, mixes) | structured.contestants(bench, vocabulary)
    if quantized:
        field |= contestants.int8(quantized, mixes)
    if not arguments.quick:
        field |= contestants.transformers(arguments.model, dtype, mixes)
    if vllms:
        field |= vllms.contestants(mixes)
    machine = Machine(dtype, library)

    def forget() -> None:
        for each in filter(None, (bench, quantized)):
            each.forget()

    seconds = take_turns(field, arguments.repeats, each_round=machine.measure, each_turn=forget)
    if vllms:
        vllms.stop()
    line = {
        "bench": "engine",
        **_steps(bench, library, mixes["few"], arguments.repeats),
        "kernels_int8": quantized.kernels if quantized else None,
        **asdict(cores),
        **rates(field, seconds),
        **_shares(arguments.model, dtype, field, seconds, machine),
        "mixed_settings_cost": round(seconds["mixed"] / seconds["promptmill"] - 1, 3),
        **structured.costs(seconds),
        "first_token_ms": structured.first_token(bench, vocabulary),
        "lowprec_divergence": _divergence(bench, arguments.model, dtype, mixes["few"]),
        "commit": commit(),
        "device": device(),
    }
    for each in filter(None, (bench, quantized)):
        each.stop()
    print(json.dumps(line | verdict(ENGINE, line)))


def _quantized(model: Path, dtype: str) -> Ours | None:
    """The engine in int8; None where there are no kernels for it."""
    try:
        return Ours(model, dtype, SLOTS, quantize="int8")
    except ConfigError as reason:
        print(f"int8 is not measured: {reason}", file=sys.stderr)
        return None


def _steps(bench: Ours, library: Library | None, mix: Mix, repeats: int) -> dict[str, Any]:
    """What the steps are computed with, how often a run of `mix` called compiled kernels, and what
    a step takes outside the model.

    Raises:
        RuntimeError: compiled kernels are named, but were not called.
    """
    before = library.calls() if library else 0
    outside = step_outside_ms(bench, mix, repeats)
    calls = (library.calls() - before) // repeats if library else 0
    if library and not calls:
        raise RuntimeError(f"the engine names its kernels {bench.kernels}, but called none")
    return {"kernels": bench.kernels, "compiled_calls": calls, "step_outside_ms": outside}


def _shares(
    model: Path,
    dtype: torch.dtype,
    field: dict[str, Contestant[Mix]],
    seconds: dict[str, float],
    machine: Machine,
) -> dict[str, Any]:
    """What was used of the machine's products and of its memory, and what these peaks are."""
    size, products, reads = size_of(model), max(machine.rates), median(machine.reads)

    def flops(name: str) -> float:
        return round(size.useful_flops(field[name].mix) / seconds[name] / products, 3)

    single = size.bytes_read(field["promptmill_single"].mix, dtype.itemsize)
    return {
        "useful_flops_fraction": flops("promptmill"),
        "useful_flops_fraction_128": flops("promptmill_128"),
        "prefill_flops_fraction": flops("prefill"),
        "single_row_bandwidth_fraction": round(single / seconds["promptmill_single"] / reads, 3),
        "peaks": {"gflops": round(products / 1e9, 1), "gb_per_s": round(reads / 1e9, 1)},
    }


def _divergence(bench: Ours, folder: Path, dtype: torch.dtype, mix: Mix) -> float:
    """The share of greedy rows that bfloat16 leads elsewhere than float32 does."""
    if dtype == torch.float32:
        return 0.0
    _, rounded = bench.run(mix, GREEDY)
    exact = Ours(folder, "float32", slots=len(mix.prompts))
    _, outputs = exact.run(mix, GREEDY)
    exact.stop()
    return round(sum(a != b for a, b in zip(outputs, rounded, strict=True)) / len(rounded), 3)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=demo_folder(CACHE))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat, without the peers")
    parser.add_argument("--torch", action="store_true", help="without compiled kernels")
    parser.add_argument(
        "--vllm", default=os.environ.get("PROMPTMILL_BENCH_VLLM"), help="python that has vLLM"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.repeats = 1
    return arguments


if __name__ == "__main__":
    main()
