"""What it costs to keep rows to a schema: part of `make bench-engine`, or alone as
`python -m bench.lib.structured`.

The same 32 prompts with schemas and without, 128 tokens each in both: the schemas ask for more than
that, and rows without one ignore the model's end tokens. So both generate as many tokens in as many
steps.
"""

from __future__ import annotations

import worker.engine  # noqa: F401  # isort: skip - before torch: see there
import argparse
import json
import os
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.lib.machine import commit, device
from bench.lib.mixes import Mix, short_prompts
from bench.lib.ours import Ours, request_of
from bench.lib.schema import schema
from bench.lib.turns import Contestant, take_turns
from common.generation import Request
from common.model_names import demo_folder

CACHE = Path(os.environ.get("PROMPTMILL_CACHE", "~/.cache/promptmill"))
ROWS = 32
TOKENS = 128
SCHEMAS = 8  # that the rows take in turn
TRIES = 15  # of each kind, for the time to the first token


def mix(vocabulary: int) -> Mix:
    return Mix(short_prompts(ROWS, vocabulary).prompts, TOKENS)


def contestants(bench: Ours, vocabulary: int) -> dict[str, Contestant[Mix]]:
    """The same rows without a schema and with one, greedy and drawn."""
    rows = mix(vocabulary)

    def seconds(rows: Mix, asked: list[dict[str, Any]]) -> float:
        took, outputs = bench.run(rows, asked)
        if any(len(output) != rows.new_tokens for output in outputs):
            raise RuntimeError("a row ended early, so the figures cannot be compared")
        return took

    found: dict[str, Contestant[Mix]] = {}
    for ending, temperature in (("", 0.0), ("_drawn", 0.8)):
        free = {"temperature": temperature}
        bound = [
            {**free, "ignore_eos": False, "output": {"json_schema": schema(number)}}
            for number in range(SCHEMAS)
        ]
        found[f"free{ending}"] = Contestant(partial(seconds, asked=[free]), rows)
        found[f"bound{ending}"] = Contestant(partial(seconds, asked=bound), rows)
    return found


def costs(seconds: dict[str, float]) -> dict[str, float]:
    """The share of the tokens per second that schemas cost."""
    return {
        f"structured_cost{ending}": round(
            1 - seconds[f"free{ending}"] / seconds[f"bound{ending}"], 3
        )
        for ending in ("", "_drawn")
    }


def first_token(bench: Ours, vocabulary: int) -> dict[str, float]:
    """Milliseconds until a single row's first token: without a schema, and how much more with one
    that was used before and with a new one."""
    prompt = mix(vocabulary).prompts[0]
    free = {"max_tokens": 1, "temperature": 0.0}
    times: dict[str, list[float]] = {"free": [], "cached": [], "new": []}
    for number in range(TRIES):
        asked: dict[str, dict[str, Any]] = {
            "free": free,
            "cached": {**free, "output": {"json_schema": schema(0)}},
            "new": {**free, "output": {"json_schema": schema(1000 + number)}},
        }
        for name, params in asked.items():
            bench.forget()
            times[name].append(_first(bench, request_of(name, prompt, params)))
    free_ms = 1000 * median(times["free"])
    more = {name: 1000 * median(times[name]) - free_ms for name in ("cached", "new")}
    return {name: round(ms, 2) for name, ms in {"free": free_ms, **more}.items()}


def _first(bench: Ours, request: Request) -> float:
    """Seconds until the request's first token."""
    came = threading.Event()
    request.on_token = lambda _: came.set()
    engine = bench.engine
    began = time.perf_counter()
    engine.submit(request)
    if not came.wait(60):
        raise TimeoutError("no token came")
    took = time.perf_counter() - began
    while not engine.collect(1.0):
        pass
    return took


def main() -> None:
    """The last line is JSON; medians of so many rounds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=demo_folder(CACHE))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    vocabulary = json.loads((arguments.model / "config.json").read_text())["vocab_size"]
    bench = Ours(arguments.model, "auto", slots=ROWS)
    seconds = take_turns(contestants(bench, vocabulary), arguments.rounds, each_turn=bench.forget)
    first = first_token(bench, vocabulary)
    bench.stop()
    line = {
        "bench": "structured",
        **costs(seconds),
        "seconds": {name: round(took, 2) for name, took in seconds.items()},
        "first_token_ms": first,
        "commit": commit(),
        "device": device(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
