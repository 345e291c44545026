"""What holds for continuous batching, on a tiny random Llama in float32."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
import torch

from common.generation import Request
from tests.unit.engine.tiny import (
    VOCABULARY,
    alone,
    ask,
    assert_same,
    build,
    collect,
    mixed,
    prompts,
    run,
    running,
    tokens,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama")


def test_a_rows_output_is_the_same_alone_and_in_any_batch_and_order(model: Any) -> None:
    requests = mixed()
    expected = alone(model, requests)
    for order in range(3):
        shuffled = random.Random(order).sample(requests, len(requests))
        with running(model, slots=5 + order, token_budget=32) as engine:
            found = run(engine, shuffled)
        for request in requests:
            assert_same(model, request, tokens(found[request.id]), expected[request.id])


def test_a_rows_output_is_the_same_after_preemptions(model: Any) -> None:
    requests = mixed()
    expected = alone(model, requests)
    with running(model, kv_tokens=160, context=96) as engine:
        found = run(engine, requests)
        assert engine.scheduler.preemptions > 0
    for request in requests:
        assert_same(model, request, tokens(found[request.id]), expected[request.id])


def test_a_rows_output_is_the_same_after_a_resume_from_any_checkpoint(model: Any) -> None:
    requests = mixed(8)
    expected = alone(model, requests)
    for at in (0, 1, 5, 13, 20):
        resumed = [
            Request(each.id, "", each.prompt_ids, each.params, each.seed, [expected[each.id][:at]])
            for each in requests
        ]
        with running(model) as engine:
            found = run(engine, resumed)
        for request in requests:
            assert_same(model, request, tokens(found[request.id]), expected[request.id])


def test_checkpoints_hold_what_was_generated_so_far(model: Any) -> None:
    stepped = threading.Event()
    request = ask("a", [5, 6, 7], temperature=0.0, max_tokens=100, n=2)
    request.on_token = lambda *_: stepped.set()
    with running(model) as engine:
        engine.submit(request)
        assert stepped.wait(20)
        saved = engine.checkpoint(["a", "unknown"])["a"]
        assert engine.checkpoint(["unknown"]) == {}, "of those that are asked for only"
        found = collect(engine, 1)["a"]
        assert engine.checkpoint(["a"]) == {}
    assert [tokens(found, n)[: len(part)] for n, part in enumerate(saved)] == saved


def test_continuations_of_one_prompt_draw_different_numbers(model: Any) -> None:
    with running(model) as engine:
        found = run(
            engine,
            [
                ask("a", [5, 6, 7], n=4, seed=1, max_tokens=20),
                ask("b", [5, 6, 7], n=4, seed=1, max_tokens=20),
                ask("c", [5, 6, 7], seed=2, max_tokens=20),
            ],
        )
    texts = [tuple(output.token_ids) for output in found["a"].outputs]
    assert texts == [tuple(output.token_ids) for output in found["b"].outputs]
    assert len({*texts, tuple(tokens(found["c"]))}) == 5


def test_a_shared_prefix_is_computed_once(model: Any) -> None:
    shared = prompts(1, shortest=64, longest=64)[0]
    asked = [ask(str(n), [*shared, 20 + n], temperature=0.0, max_tokens=8) for n in range(8)]
    expected = alone(model, asked)
    with running(model) as engine:
        computed = 0
        plan = engine.scheduler.plan

        def counting() -> Any:
            nonlocal computed
            chunks = plan()
            computed += sum(chunk.count for chunk in chunks)
            return chunks

        engine.scheduler.plan = counting  # type: ignore[method-assign]
        found = run(engine, asked)
    assert {id: tokens(each) for id, each in found.items()} == expected
    assert computed == 64 + 8 + 8 * 7  # the prefix once, each row's last token, then decoding


def test_a_failing_step_fails_its_rows_and_not_the_engine(model: Any) -> None:
    with running(model) as engine:
        logits = engine._runner.logits

        def failing(*arguments: Any) -> torch.Tensor:
            engine._runner.logits = logits  # type: ignore[method-assign]
            raise RuntimeError("out of luck")

        engine._runner.logits = failing  # type: ignore[assignment, method-assign]  # breaks it
        failed = run(engine, [ask("a", [5, 6], max_tokens=4)])["a"]
        assert failed.error and failed.error[0] == "engine_error" and "luck" not in failed.error[1]
        assert len(tokens(run(engine, [ask("b", [5, 6], max_tokens=4, ignore_eos=True)])["b"])) == 4
        assert engine.room() == engine.slots


def test_tiny_temperatures_are_greedy_and_disturb_nobody(model: Any) -> None:
    greedy = ask("greedy", [30, 31], temperature=0.0, max_tokens=8)
    tiny = [
        ask(str(t), [30, 31], temperature=t, max_tokens=8, seed=3)
        for t in (5e-324, 1e-45, 1e-39, 1e-20, 9e-6)
    ]
    beside = ask("beside", [30, 31], temperature=1.0, max_tokens=8, seed=3)
    expected = alone(model, [greedy, beside])
    with running(model) as engine:
        found = run(engine, [greedy, *tiny, beside])
    assert tokens(found["beside"]) == expected["beside"]
    assert {id: tokens(each) for id, each in found.items() if id != "beside"} == {
        each.id: expected["greedy"] for each in [greedy, *tiny]
    }


def test_every_setting_at_its_bounds_runs_beside_others(model: Any) -> None:
    extremes: dict[str, list[Any]] = {
        "temperature": [100],
        "top_p": [5e-324, 1.0],
        "top_k": [1, 2**31 - 1],
        "min_p": [5e-324, 1.0],
        "typical_p": [5e-324, 1.0],
        "seed": [0, 2**63 - 1],
        "repetition_penalty": [0.01, 10],
        "presence_penalty": [-2, 2],
        "frequency_penalty": [-2, 2],
        "no_repeat_ngram_size": [1, 64],
        "logit_bias": [{0: -100, VOCABULARY - 1: 100}],
        "min_tokens": [8],
        "logprobs": [20],
        "prompt_logprobs": [20],
    }
    requests = [
        ask(f"{name} {value}", [30, 31, 30], **{"max_tokens": 8, "ignore_eos": True, name: value})
        for name, values in extremes.items()
        for value in values
    ]
    with running(model, slots=32) as engine:
        found = run(engine, requests)
    assert all(len(tokens(each)) == 8 for each in found.values())


def test_each_step_s_time_is_told_once(model: Any) -> None:
    with running(model) as engine:
        run(engine, mixed(2))
        times = engine.step_times()
        assert len(times) >= 20 and all(0 < seconds < 60 for seconds in times)
        assert len(engine.step_times()) <= 1  # the last one ends after its results are handed over
