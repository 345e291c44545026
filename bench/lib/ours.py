"""Our engine as the benchmarks run it: a whole mix at once, with settings row by row."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from bench.lib.mixes import Mix
from common.generation import Finished, Request
from common.params import SamplingParams
from common.structured.grammar import grammar_of
from worker.engine.batching import BatchingEngine
from worker.engine.model.runner import Runner
from worker.engine.protocol import Engine
from worker.models import OpenedModel, open_model

GREEDY: list[dict[str, Any]] = [{"temperature": 0.0}]
MIXED: list[dict[str, Any]] = [  # as in practice, where hardly two rows are alike
    {"temperature": 0.0},
    {"temperature": 0.8, "top_p": 0.95},
    {"temperature": 1.0, "top_k": 50, "repetition_penalty": 1.1},
    {"temperature": 0.7, "min_p": 0.05, "presence_penalty": 0.5},
    {"temperature": 1.2, "top_k": 20, "top_p": 0.9, "frequency_penalty": 0.3},
    {"temperature": 0.9, "stop": ["\n\n\n"], "no_repeat_ngram_size": 4},
    {"temperature": 1.0, "logit_bias": {5: 2.0, 6: -5.0}},
    {"temperature": 0.6, "logprobs": 3},
]


def request_of(id: str, prompt: list[int], settings: dict[str, Any], seed: int = 0) -> Request:
    params = SamplingParams.model_validate(settings)
    request = Request(id, "", prompt, params, seed)
    request.grammar = grammar_of(params.output) if params.output else None
    return request


def run(engine: Engine, mix: Mix, settings: list[dict[str, Any]]) -> tuple[float, list[list[int]]]:
    """Seconds for the whole mix, and each row's tokens; the rows take `settings` in turn."""
    usual = {"max_tokens": mix.new_tokens, "ignore_eos": True}
    requests = [
        request_of(str(row), prompt, {**usual, **settings[row % len(settings)]}, row)
        for row, prompt in enumerate(mix.prompts)
    ]
    began = time.perf_counter()
    answers = finished(engine, requests)
    took = time.perf_counter() - began
    return took, [answers[request.id].outputs[0].token_ids for request in requests]


def finished(engine: Engine, requests: list[Request]) -> dict[str, Finished]:
    """The answer to each request, by its id.

    Raises:
        RuntimeError: one ended with an error.
    """
    for request in requests:
        engine.submit(request)
    answers: dict[str, Finished] = {}
    while len(answers) < len(requests):
        for each in engine.collect(1.0):
            if each.error:
                raise RuntimeError(each.error[1])
            answers[each.id] = each
    return answers


class Ours:
    """The model in `folder` on our engine, running; `kernels="torch"` leaves the compiled ones
    out."""

    def __init__(
        self,
        folder: Path,
        dtype: Any,
        slots: int,
        *,
        kernels: Literal["auto", "torch"] = "auto",
        quantize: Literal["int8"] | None = None,
    ):
        self.opened: OpenedModel = open_model(
            str(folder),
            engine="native",
            device="cpu",
            dtype=dtype,
            kernels=kernels,
            quantize=quantize,
            slots=slots,
        )
        assert isinstance(self.opened.engine, BatchingEngine)
        self.engine: BatchingEngine = self.opened.engine
        self.engine.start()

    @property
    def runner(self) -> Runner:
        """What computes the engine's steps."""
        return self.engine._runner

    @property
    def kernels(self) -> str:
        """What the steps are computed with: the name of the compiled kernels, or `torch`."""
        return str(self.engine.parts["kernels"])

    def run(self, mix: Mix, settings: list[dict[str, Any]]) -> tuple[float, list[list[int]]]:
        return run(self.engine, mix, settings)

    def seconds(self, mix: Mix, settings: list[dict[str, Any]]) -> float:
        return self.run(mix, settings)[0]

    def forget(self) -> None:
        """Empty the prefix cache: sharing counts within a run, not between runs."""
        self.engine.forget_prefixes()

    def stop(self) -> None:
        self.engine.stop()
