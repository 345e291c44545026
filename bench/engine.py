"""The engine beside what people would use instead, on this machine; the last line is JSON.

    python -m bench.engine [--model FOLDER] [--repeats 5] [--quick] [--vllm PYTHON]

Contestants take turns, so that a noisy minute hits all of them; figures are medians. `--vllm` names
the interpreter of an environment that holds vLLM (also `PROMPTMILL_BENCH_VLLM`); without it vLLM's
fields are null. `--quick` is one repeat without the slow peers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import worker.engine  # noqa: F401  # isort: skip - before torch: see there
import torch

from bench.lib import structured
from bench.lib.hardware import Machine
from bench.lib.machine import commit, device
from bench.lib.mixes import Mix, shared_instruction, short_prompts
from bench.lib.ours import GREEDY, MIXED, Ours
from bench.lib.peers import Transformers, Vllm
from worker.models import pick_dtype

Contestant = Callable[[], float]  # runs its mix and gives the seconds it took


def useful_flops(mix: Mix, layers: int, head: int) -> float:
    """Prompt tokens through the layers, generated ones through layers and head; `layers`, `head` in
    parameters."""
    return 2.0 * (mix.prompt_tokens * layers + mix.generated * (layers + head))


def main() -> None:
    arguments = _arguments()
    dtype = pick_dtype("auto", torch.device("cpu"))
    vocabulary = json.loads((arguments.model / "config.json").read_text())["vocab_size"]
    mixes = _mixes(vocabulary)
    bench = Ours(arguments.model, str(dtype).removeprefix("torch."), slots=128)
    vllms = _vllms(
        arguments, dtype, {name: mixes[name] for name in ("vllm", "vllm_128", "shared_vllm")}
    )
    contestants = _ours(bench, mixes) | structured.contestants(bench, vocabulary)
    if not arguments.quick:
        contestants |= _transformers(arguments.model, dtype, mixes)
    contestants |= {name: partial(process.run, mix) for name, (process, mix) in vllms.items()}
    machine = Machine(dtype)
    seconds = _take_turns(bench, contestants, machine, arguments.repeats)
    for process in {process for process, _ in vllms.values()}:
        process.stop()
    _, rounded = bench.run(mixes["promptmill"], GREEDY)
    first_token = structured.first_token(bench, vocabulary)
    bench.stop()
    divergence = (
        _divergence(arguments.model, mixes["promptmill"], rounded)
        if dtype == torch.bfloat16
        else 0.0
    )
    line = {
        "bench": "engine",
        "kernels": "torch + oneDNN",
        **_rates(mixes, seconds),
        **_shares(arguments.model, dtype, mixes, seconds, machine),
        "mixed_settings_cost": round(seconds["mixed"] / seconds["promptmill"] - 1, 3),
        **structured.costs(seconds),
        "first_token_ms": first_token,
        "lowprec_divergence": divergence,
        "commit": commit(),
        "device": device(),
    }
    print(json.dumps(line))


def _mixes(vocabulary: int) -> dict[str, Mix]:
    """What each contestant runs."""
    short, many = short_prompts(32, vocabulary), short_prompts(128, vocabulary)
    shared = shared_instruction(32, vocabulary)
    return {
        **dict.fromkeys(("promptmill", "mixed", "static", "transformers_cb", "vllm"), short),
        **dict.fromkeys(("promptmill_128", "vllm_128"), many),
        **dict.fromkeys(
            ("shared", "shared_transformers_cb", "shared_vllm", "shared_vllm+cache"), shared
        ),
        "single": Mix([short.prompts[0]], 128),
        # One at a time is slow: its rate does not depend on how many.
        "generate": Mix(short.prompts[:4]),
    }


def _ours(bench: Ours, mixes: dict[str, Mix]) -> dict[str, Contestant]:
    settings = {
        "promptmill": GREEDY,
        "mixed": MIXED,
        "promptmill_128": GREEDY,
        "shared": GREEDY,
        "single": GREEDY,
    }
    return {name: partial(bench.seconds, mixes[name], each) for name, each in settings.items()}


def _transformers(model: Path, dtype: torch.dtype, mixes: dict[str, Mix]) -> dict[str, Contestant]:
    peers = Transformers(str(model), dtype)
    return {
        "generate": partial(peers.one_at_a_time, mixes["generate"]),
        "static": partial(peers.static_batch, mixes["static"]),
        "transformers_cb": partial(peers.continuous, mixes["transformers_cb"]),
        "shared_transformers_cb": partial(peers.continuous, mixes["shared_transformers_cb"]),
    }


def _take_turns(
    bench: Ours, contestants: dict[str, Contestant], machine: Machine, repeats: int
) -> dict[str, float]:
    """The median seconds of each contestant; the machine is measured once a round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        machine.measure()
        for name, run in contestants.items():
            bench.forget()
            seconds = run()
            if repeat:  # the first round warms up
                times[name].append(seconds)
            print(f"{repeat}/{repeats} {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return {name: median(taken) for name, taken in times.items()}


def _rates(mixes: dict[str, Mix], seconds: dict[str, float]) -> dict[str, dict[str, float | None]]:
    """Tokens per second and their ratios, None for what did not run."""

    def rate(name: str) -> float | None:
        return round(mixes[name].generated / seconds[name], 1) if name in seconds else None

    def ratio(name: str, ours: str = "promptmill") -> float | None:
        theirs, mine = rate(name), rate(ours)
        return round(mine / theirs, 2) if theirs and mine else None

    alone = (
        "promptmill",
        "promptmill_128",
        "generate",
        "static",
        "transformers_cb",
        "vllm",
        "vllm_128",
    )
    return {
        "tokens_per_s": {name: rate(name) for name in alone},
        "shared_prefix": {
            "promptmill": rate("shared"),
            "transformers_cb": rate("shared_transformers_cb"),
            "vllm": rate("shared_vllm"),
            "vllm_prefix_cache": rate("shared_vllm+cache"),
        },
        "ratio": {
            "static": ratio("static"),
            "transformers_cb": ratio("transformers_cb"),
            "vllm": ratio("vllm"),
            "vllm_128": ratio("vllm_128", "promptmill_128"),
            "shared_vllm": ratio("shared_vllm", "shared"),
            "shared_vllm_prefix_cache": ratio("shared_vllm+cache", "shared"),
        },
    }


def _shares(
    model: Path,
    dtype: torch.dtype,
    mixes: dict[str, Mix],
    seconds: dict[str, float],
    machine: Machine,
) -> dict[str, float]:
    """What was used of the machine's products and of its memory."""
    config = json.loads((model / "config.json").read_text())
    head = config["vocab_size"] * config["hidden_size"]
    layers = _parameters(model) - head

    def flops(name: str) -> float:
        return round(
            useful_flops(mixes[name], layers, head) / seconds[name] / max(machine.rates), 3
        )

    reads = mixes["single"].new_tokens * dtype.itemsize * (layers + head) / seconds["single"]
    return {
        "useful_flops_fraction": flops("promptmill"),
        "useful_flops_fraction_128": flops("promptmill_128"),
        "single_row_bandwidth_fraction": round(reads / median(machine.reads), 3),
    }


def _vllms(
    arguments: argparse.Namespace, dtype: torch.dtype, mixes: dict[str, Mix]
) -> dict[str, tuple[Vllm, str]]:
    """Contestants of vLLM, with and without prefix caching: name -> (process, its mix)."""
    if not arguments.vllm:
        return {}
    found: dict[str, tuple[Vllm, str]] = {}
    for caching in (False, True):
        kept = {name: mix for name, mix in mixes.items() if not caching or name == "shared_vllm"}
        kind = str(dtype).removeprefix("torch.")
        process = Vllm(arguments.vllm, str(arguments.model), kind, kept, prefix_caching=caching)
        found |= {name + ("+cache" if caching else ""): (process, name) for name in kept}
    return found


def _divergence(folder: Path, mix: Mix, rounded: list[list[int]]) -> float:
    """The share of greedy rows that bfloat16 leads elsewhere than float32 does."""
    exact = Ours(folder, "float32", slots=len(mix.prompts))
    _, outputs = exact.run(mix, GREEDY)
    exact.stop()
    return round(sum(a != b for a, b in zip(outputs, rounded, strict=True)) / len(rounded), 3)


def _parameters(folder: Path) -> int:
    """Elements of all weights, a tied head counted once."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping, it only has keys()
                shape = weights.get_slice(name).get_shape()
                total += int(torch.Size(shape).numel())
    return total


def _arguments() -> argparse.Namespace:
    cache = Path(os.environ.get("PROMPTMILL_CACHE", "~/.cache/promptmill")).expanduser()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=cache / "models" / "smollm2-135m")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat, without the peers")
    parser.add_argument(
        "--vllm", default=os.environ.get("PROMPTMILL_BENCH_VLLM"), help="python that has vLLM"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.repeats = 1
    return arguments


if __name__ == "__main__":
    main()
