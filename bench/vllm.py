"""The whole queue with vLLM as its engine, beside vLLM alone; the last line is JSON.

    python -m bench.vllm --vllm PYTHON [--model FOLDER] [--repeats 5] [--quick]

`--vllm` names the interpreter of an environment that holds vLLM and promptmill's core; both run
there, with equal arguments and as many threads on the same cores, and take turns. vLLM alone is
`LLM.generate` on a list of texts. The queue is Valkey, a web process and a worker: a job of the
same texts is submitted over HTTP, waited for, and its results are fetched. Both turn texts into
tokens and tokens into texts. There are more rows than slots. The queue runs once more with a client
that follows all rows as they are written. `--quick` is one repeat with 32 slots only.

    tokens_per_s    generated tokens of all rows ÷ wall time, medians of the rounds
    ratio           the queue's by those of vLLM alone in the same round, medians of the rounds: a
                    machine whose speed changes between rounds changes both
    ms_per_item     what the queue adds to an item: wall time less that of vLLM alone in the same
                    round ÷ items, medians of the rounds
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import worker.engine  # noqa: F401  # isort: skip - before torch: see there

from bench.lib.cores import Cores, share_cores
from bench.lib.machine import ROOT, commit, device
from bench.lib.mixes import Texts, passages
from bench.lib.peers import Vllm
from bench.lib.queued import Queued
from bench.lib.targets import VLLM, verdict
from bench.lib.turns import Contestant, rounds
from common.model_names import demo_folder

CACHE = Path(os.environ.get("PROMPTMILL_CACHE", "~/.cache/promptmill"))
SLOTS = (32, 128)
ROWS_PER_SLOT = 2
CONTEXT = 2048  # tokens


def main() -> None:
    arguments = _arguments()
    cores = share_cores()
    text = (ROOT / "bench" / "data" / "english.txt").read_text(encoding="utf-8")
    slots = SLOTS[:1] if arguments.quick else SLOTS
    field: dict[str, Contestant[Texts]] = {}
    with ExitStack() as stack:
        for each in slots:
            queued, alone = _pair(stack, arguments, cores, each)
            rows = passages(each * ROWS_PER_SLOT, text)
            field |= {
                f"vllm_{each}": Contestant(alone.run, rows),
                f"promptmill_vllm_{each}": Contestant(partial(queued.run, stream=False), rows),
                f"streamed_{each}": Contestant(partial(queued.run, stream=True), rows),
            }
        seconds = rounds(field, 1 if arguments.quick else arguments.repeats)
    line = {
        "bench": "vllm",
        "rows_per_slot": ROWS_PER_SLOT,
        "tokens_per_s": {
            name: round(field[name].mix.generated / median(took), 1)
            for name, took in seconds.items()
        },
        "ratio": _ratios(seconds),
        "ms_per_item": {
            str(each): _cost(seconds, each, len(field[f"vllm_{each}"].mix.prompts))
            for each in slots
        },
        "threads": cores.threads,
        "commit": commit(),
        "device": device(),
    }
    print(json.dumps(line | verdict(VLLM, line)))


def _pair(
    stack: ExitStack, arguments: argparse.Namespace, cores: Cores, slots: int
) -> tuple[Queued, Vllm]:
    """The queue and vLLM alone with so many rows at once, both running."""
    queued = stack.enter_context(
        Queued.running(arguments.vllm, arguments.model, slots=slots, context=CONTEXT)
    )
    alone = Vllm(
        arguments.vllm,
        str(arguments.model),
        queued.dtype,
        cores,
        prefix_caching=True,
        slots=slots,
    )
    stack.callback(alone.stop)
    return queued, alone


def _ratios(seconds: dict[str, list[float]]) -> dict[str, float | None]:
    """How many times as fast the queue is as vLLM alone; None for what did not run."""
    found: dict[str, float | None] = {}
    for ours in ("promptmill_vllm", "streamed"):
        for slots in SLOTS:
            pairs = zip(
                seconds.get(f"vllm_{slots}", []), seconds.get(f"{ours}_{slots}", []), strict=True
            )
            ratios = [alone / took for alone, took in pairs]
            found[f"{ours}_{slots}"] = round(median(ratios), 3) if ratios else None
    return found


def _cost(seconds: dict[str, list[float]], slots: int, rows: int) -> float:
    pairs = zip(seconds[f"promptmill_vllm_{slots}"], seconds[f"vllm_{slots}"], strict=True)
    return round(median(took - alone for took, alone in pairs) / rows * 1e3, 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=demo_folder(CACHE))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat, 32 slots only")
    parser.add_argument("--vllm", required=True, help="python that has vLLM and promptmill")
    return parser.parse_args()


if __name__ == "__main__":
    main()
