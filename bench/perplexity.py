"""How well the engine predicts human text in bfloat16, with torch and with compiled kernels, and in
int8; the last line is JSON.

    python -m bench.perplexity [--model FOLDER] [--quick]

Teacher-forced: windows of 512 tokens of the texts in `bench/data/` go through the engine as prompts
whose log-probabilities are asked for (`prompt_logprobs`). `--quick` takes two windows of each
text.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import worker.engine  # noqa: F401  # isort: skip - before torch: see there

from bench.lib.machine import ROOT, commit, device
from bench.lib.ours import Ours, finished, request_of
from bench.lib.perplexities import Window, agreement, perplexity, ratio
from bench.lib.targets import PERPLEXITY, verdict
from common.generation import TokenLogprob
from common.model_names import demo_folder

CACHE = Path(os.environ.get("PROMPTMILL_CACHE", "~/.cache/promptmill"))
TEXTS = {name: ROOT / "bench" / "data" / f"{name}.txt" for name in ("english", "spanish")}
WINDOW = 512  # tokens
QUICK = 2  # windows of each text
SLOTS = 8
# How the model is opened, and the configuration that each is compared with.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "bf16_torch": {"kernels": "torch"},
    "bf16": {},
    "int8": {"quantize": "int8"},
}
BASELINE = {"bf16": "bf16_torch", "int8": "bf16"}


def main() -> None:
    arguments = _arguments()
    kernels: dict[str, str] = {}
    measured: dict[str, dict[str, list[Window]]] = {}
    for name, how in CONFIGURATIONS.items():
        began = time.perf_counter()
        engine = Ours(arguments.model, "bfloat16", SLOTS, **how)
        kernels[name] = engine.kernels
        if engine.kernels == "torch" and name != "bf16_torch":
            sys.exit("no compiled kernels, so nothing to compare: `promptmill doctor` says why")
        texts = _windows(engine, QUICK if arguments.quick else None)
        measured[name] = {text: _measure(engine, windows) for text, windows in texts.items()}
        engine.stop()
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    first = next(iter(measured.values()))
    line = {
        "bench": "perplexity",
        "kernels": kernels,
        "window": WINDOW,
        "windows": {text: len(windows) for text, windows in first.items()},
        "tokens": sum(len(each.logprobs) for windows in first.values() for each in windows),
        "perplexity": {name: _perplexities(texts) for name, texts in measured.items()},
        **_compared(measured),
        "commit": commit(),
        "device": device(),
    }
    print(json.dumps(line | verdict(PERPLEXITY, line)))


def _windows(engine: Ours, most: int | None) -> dict[str, list[list[int]]]:
    """The texts in windows of token ids; the last of a text may be shorter."""
    found = {}
    for name, path in TEXTS.items():
        ids = engine.opened.tokenizer.encode(path.read_text(encoding="utf-8"))
        windows = [ids[begin : begin + WINDOW] for begin in range(0, len(ids), WINDOW)]
        found[name] = [window for window in windows if len(window) > 1][:most]
    return found


def _measure(engine: Ours, windows: list[list[int]]) -> list[Window]:
    asked = {"max_tokens": 1, "temperature": 0.0, "ignore_eos": True, "prompt_logprobs": 1}
    requests = [request_of(str(number), ids, asked) for number, ids in enumerate(windows)]
    answers = finished(engine.engine, requests)
    return [_window(answers[request.id].prompt_logprobs or []) for request in requests]


def _window(tokens: list[TokenLogprob]) -> Window:
    """The first token is predicted from nothing and does not count."""
    logprobs = [token.logprob for token in tokens[1:] if token.logprob is not None]
    return Window(logprobs, [token.top[0][1].token_id for token in tokens[1:]])


def _all(texts: dict[str, list[Window]]) -> list[Window]:
    return [window for windows in texts.values() for window in windows]


def _perplexities(texts: dict[str, list[Window]]) -> dict[str, float]:
    """Of each text and of all."""
    found = {text: perplexity(windows) for text, windows in texts.items()}
    found["all"] = perplexity(_all(texts))
    return {text: round(value, 4) for text, value in found.items()}


def _compared(measured: dict[str, dict[str, list[Window]]]) -> dict[str, dict[str, Any]]:
    """Ratios of perplexities with their intervals, and how often the likeliest token is the
    same."""
    ratios: dict[str, Any] = {}
    same: dict[str, Any] = {}
    for name, other in BASELINE.items():
        texts, baseline = measured[name], measured[other]
        parts = {text: (texts[text], baseline[text]) for text in texts}
        parts["all"] = (_all(texts), _all(baseline))
        key = f"{name}_over_{other}"
        ratios[key] = {text: ratio(*pair) for text, pair in parts.items()}
        same[key] = {text: round(agreement(*pair), 4) for text, pair in parts.items()}
    return {"ratio": ratios, "top1_agreement": same}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=demo_folder(CACHE))
    parser.add_argument("--quick", action="store_true", help="two windows of each text")
    return parser.parse_args()


if __name__ == "__main__":
    main()
