"""A tiny model on engine vllm and on our own, and how requests run on either."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.generation import Finished, Request
from common.params import SamplingParams
from worker.engine.protocol import Engine
from worker.models import OpenedModel, open_model

SLOTS = 4
NUMBERS = itertools.count()
# Decoding parameters of greedy rows.
EDITS: dict[str, dict[str, Any]] = {
    "none": {},
    "repetition": {"repetition_penalty": 1.6},
    "repetition below 1": {"repetition_penalty": 0.7},
    "presence": {"presence_penalty": 2},
    "frequency": {"frequency_penalty": 2, "max_tokens": 60},
    "all penalties": {"repetition_penalty": 1.3, "presence_penalty": -1, "frequency_penalty": 0.5},
    "bias": {"logit_bias": {5: 100, 9: -100}},
    "all ends biased, none before min_tokens": {"logit_bias": {0: 100}, "min_tokens": 9},
    "stop ids": {"stop_token_ids": list(range(100, 140)), "max_tokens": 60},
    "stop ids and min_tokens": {
        "stop_token_ids": list(range(100, 140)),
        "min_tokens": 20,
        "max_tokens": 60,
    },
    "end ignored": {"logit_bias": {0: 3}, "ignore_eos": True, "max_tokens": 60},
    "a filter is nothing to a greedy row": {"top_k": 2, "top_p": 0.3, "min_p": 0.5},
    "almost greedy": {"temperature": 9e-6},
    "one token": {"max_tokens": 1},
    "the whole context": {"max_tokens": 490, "ignore_eos": True},
}


def request(prompt: list[int], /, seed: int = 7, **more: Any) -> Request:
    """`more` are decoding parameters, or fields of the request."""
    own = {
        name: more.pop(name)
        for name in ("resume", "grammar", "thinking", "continuations", "interactive", "on_token")
        if name in more
    }
    params = SamplingParams.model_validate({"temperature": 0, "max_tokens": 16} | more)
    return Request(f"r{next(NUMBERS)}", "", prompt, params, seed, **own)


def run(engine: Engine, *requests: Request, seconds: float = 60) -> list[Finished]:
    """Submit these at once; what came of each, in their order."""
    for each in requests:
        engine.submit(each)
    return collected(engine, requests, seconds)


def collected(engine: Engine, requests: tuple[Request, ...], seconds: float = 60) -> list[Finished]:
    found: dict[str, Finished] = {}
    until = time.monotonic() + seconds
    while len(found) < len(requests):
        assert time.monotonic() < until, f"{len(found)} of {len(requests)} requests came back"
        for each in engine.collect(0.5):
            assert each.id not in found
            found[each.id] = each
    return [found[each.id] for each in requests]


def tokens(finished: Finished) -> list[list[int]]:
    assert finished.error is None, finished.error
    return [output.token_ids for output in finished.outputs]


@dataclass
class Pair:
    """One model on both engines."""

    vllm: OpenedModel
    own: OpenedModel

    def ids(self, text: str) -> list[int]:
        return self.vllm.tokenizer.encode(text)


@contextmanager
def opened(folder: Path, **more: Any) -> Iterator[OpenedModel]:
    found = open_model(str(folder), **{"dtype": "float32", "slots": SLOTS, **more})
    try:
        found.engine.start()
        yield found
    finally:
        found.engine.stop()
