"""The engine over the compiled pass: a seed gives one text, alone and in any company, bit for bit;
and the text is that of `generate()` as far as bfloat16 tells tokens apart."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from common.generation import Finished, Request
from tests.unit.engine.compiled_models import KINDS, small
from tests.unit.engine.test_parity import oracle
from tests.unit.engine.tiny import ask, collect, mixed, prompts, run, running, tokens
from worker.engine.attention.native import Native
from worker.engine.batching import BatchingEngine
from worker.engine.kernels.library import Library
from worker.engine.kernels.packed import Kind
from worker.engine.model.llama import FAMILIES

SHARED = prompts(1, shortest=80, longest=80, seed=5)[0]  # five blocks
ROUNDS = 4
NEAR = 0.1  # of the spread of a token's logits: what bfloat16 in two layers changes


def model_with_ties(family: str) -> Any:
    """Each token from 10 on has a twin, the next one, whose logits are equal."""
    model = small(family, group=3)
    with torch.no_grad():
        model.lm_head.weight[11::2] = model.lm_head.weight[10:-1:2]
    return model


def settings(kind: Kind, **more: Any) -> dict[str, Any]:
    quantize = None if kind == "bf16" else kind
    return {"context": 176, "kv_tokens": 16 * 176, "quantize": quantize, **more}


def fill_with_nan(engine: BatchingEngine) -> None:
    attention = engine._runner.attention
    assert isinstance(attention, Native)
    for cache in attention.caches.values():
        cache.units.fill_(torch.nan)


def asked() -> list[Request]:
    """Greedy and sampled requests, half of which begin with five blocks in common."""
    found = mixed(16)
    for n, request in enumerate(found):
        # Long enough to outgrow the blocks that rows are admitted with.
        request.params = request.params.model_copy(update={"max_tokens": 40})
        if n % 4 < 2:
            request.prompt_ids = [*SHARED, *request.prompt_ids]
    return found


def one_by_one(engine: BatchingEngine, requests: list[Request]) -> dict[str, list[int]]:
    found = {}
    for request in requests:
        found[request.id] = tokens(run(engine, [request])[request.id])
        engine.forget_prefixes()
        fill_with_nan(engine)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_gives_one_text_in_any_company(family: str, kind: Kind, library: Library) -> None:
    before = library.calls()
    requests = asked()
    with running(model_with_ties(family), **settings(kind)) as engine:
        assert engine.batch_invariant
        assert engine.parts["kernels"] == library.name + ("+int8" if kind == "int8" else "")
        fill_with_nan(engine)
        expected = one_by_one(engine, requests)
        assert {id: tokens(each) for id, each in run(engine, requests).items()} == expected
    greedy = [expected[each.id] for each in requests if each.params.temperature == 0]
    assert any(token >= 10 for row in greedy for token in row), "no row had a tie"
    # Another engine, with so little room that rows are preempted, and steps of few tokens.
    chance = random.Random(family)
    with running(
        model_with_ties(family), **settings(kind, kv_tokens=192, slots=6, token_budget=40)
    ) as engine:
        fill_with_nan(engine)
        for turn in range(ROUNDS):
            some = [
                _resumed(each, expected[each.id], chance) for each in chance.sample(requests, 10)
            ]
            found: dict[str, Finished] = {}
            for request in some:
                engine.submit(request)
                if turn and chance.random() < 0.3:  # a few steps pass before the next one comes
                    found |= {each.id: each for each in engine.collect(0.01)}
            found |= collect(engine, len(some) - len(found))
            assert {id: tokens(each) for id, each in found.items()} == {
                request.id: expected[request.id] for request in some
            }
        assert engine.scheduler.preemptions > 0
    assert library.calls() > before


def _resumed(request: Request, text: list[int], chance: random.Random) -> Request:
    """The request, which goes on behind a part of its text; often from the beginning."""
    part = text[: chance.choice((0, 0, 0, chance.randrange(len(text) + 1)))]
    return Request(
        request.id, "", request.prompt_ids, request.params, request.seed, [part] if part else None
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_output_is_that_of_generate_but_for_near_ties(family: str, library: Library) -> None:
    exact = small(family).float()
    prompted = prompts(12, longest=60)
    expected = [oracle(exact, ids, 12) for ids in prompted]
    with running(small(family), **settings("bf16", token_budget=24)) as engine:
        assert engine.batch_invariant
        requests = [
            ask(str(n), ids, temperature=0.0, max_tokens=12) for n, ids in enumerate(prompted)
        ]
        done = run(engine, requests)
    found = [tokens(done[request.id]) for request in requests]
    for ids, one, other in zip(prompted, found, expected, strict=True):
        assert_near(exact, ids, one, other)
    assert sum(map(list.__eq__, found, expected)) > len(found) // 2
    assert len({tuple(row) for row in expected}) > 1, "it says the same to everything"


def assert_near(exact: Any, ids: list[int], found: list[int], expected: list[int]) -> None:
    """Where the outputs first differ, float32 gives both tokens nearly the same logit."""
    at = next(
        (n for n, pair in enumerate(zip(found, expected, strict=True)) if len({*pair}) > 1), 0
    )
    with torch.inference_mode():
        logits = exact(torch.tensor([ids + found[:at]])).logits[0, -1]
    apart = logits[expected[at]] - logits[found[at]]
    assert apart < NEAR * logits.std(), (at, found, expected)
