"""Requests whose texts are scored, and what a plain pass of the model says of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from common.generation import Finished, Request
from common.params import SamplingParams
from tests.unit.engine.tiny import prompts
from worker.engine.batching import BatchingEngine

# Alike in their first tokens, one the beginning of another, the same twice, and one long.
TEXTS = [[20, 21], [20], [20, 21, 22], [30, 31], [30, 32], [20, 21], prompts(1, shortest=30)[0]]


def score(id: str, ids: list[int], texts: list[list[int]] = TEXTS, **params: Any) -> Request:
    return Request(id, "", ids, SamplingParams(**params), 0, continuations=texts)


def forced(model: Any, ids: list[int]) -> torch.Tensor:
    """(positions, vocabulary) log-probabilities of what follows each position, from one plain
    pass."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        found = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    model.set_attn_implementation(before)
    return found.log_softmax(-1)


def each_logprob(model: Any, ids: list[int], text: list[int]) -> list[float]:
    """Of the text's tokens behind the prompt; of those with something before them."""
    log_p = forced(model, ids + text)
    places = range(max(1, len(ids)), len(ids) + len(text))
    return [log_p[at - 1, (ids + text)[at]].item() for at in places]


def assert_scored(model: Any, request: Request, found: Finished) -> None:
    assert found.error is None and found.outputs == [], found
    texts = request.continuations or []
    expected = [each_logprob(model, request.prompt_ids, text) for text in texts]
    assert found.continuations is not None
    for each, logprobs in zip(found.continuations, expected, strict=True):
        assert each.logprob == pytest.approx(sum(logprobs), abs=1e-3)
        assert each.token_count == len(logprobs)
    for name, values in (
        ("probability", [sum(each) for each in expected]),
        ("probability_per_token", [sum(each) / len(each) for each in expected]),
    ):
        shares = [getattr(each, name) for each in found.continuations]
        weights = torch.tensor(values, dtype=torch.float64).softmax(0).tolist()
        assert shares == pytest.approx(weights, abs=1e-3)
        assert sum(shares) == pytest.approx(1, abs=1e-9)


def counted(engine: BatchingEngine) -> list[int]:
    """From now on, how many tokens each step computes."""
    computed: list[int] = []
    plan = engine.scheduler.plan

    def counting() -> Any:
        chunks = plan()
        computed.append(sum(chunk.count for chunk in chunks))
        return chunks

    engine.scheduler.plan = counting  # type: ignore[method-assign]
    return computed
