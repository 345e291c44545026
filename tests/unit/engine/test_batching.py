"""The laws of continuous batching, on a tiny random Llama in float32."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
import torch

from common.types import Request
from tests.unit.engine.tiny import (
    VOCABULARY,
    Letters,
    ask,
    assert_same,
    build,
    collect,
    prompts,
    run,
    running,
    tokens,
)

A = ord("a") - 10


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama")


def mixed(count: int = 16, seed: int = 3) -> list[Request]:
    """Requests that all decode differently."""
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.3},
        {"temperature": 0.8, "top_k": 7},
        {"temperature": 1.0, "top_p": 0.7, "repetition_penalty": 1.3},
        {"temperature": 0.0, "presence_penalty": 1.0, "frequency_penalty": 0.5},
        {"temperature": 1.5, "min_p": 0.05, "no_repeat_ngram_size": 2},
        {"temperature": 1.0, "typical_p": 0.6},
        {"temperature": 1.0, "logit_bias": {20: 4.0, 21: -100.0}, "max_tokens": 9},
    ]
    return [
        ask(str(n), ids, seed=100 + n, **{"max_tokens": 20, **settings[n % len(settings)]})
        for n, ids in enumerate(prompts(count, seed=seed))
    ]


def alone(model: Any, requests: list[Request]) -> dict[str, list[int]]:
    with running(model) as engine:
        return {request.id: tokens(run(engine, [request])[request.id]) for request in requests}


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
        saved = engine.checkpoint()["a"]
        found = collect(engine, 1)["a"]
        assert engine.checkpoint() == {}
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
    assert computed == 64 + 8 + 8 * 7  # the prefix once, each row's own last token, then decoding


def test_a_stop_string_across_tokens_ends_the_text_and_never_shows(model: Any) -> None:
    with running(model) as engine:
        plain = run(engine, [ask("a", [30, 31], temperature=0.0, max_tokens=30)])["a"].outputs[0]
        stop = plain.text[4:7]
        cut = plain.text.index(stop)
        streamed: list[str] = []
        request = ask("b", [30, 31], temperature=0.0, max_tokens=30, stop=[stop])
        request.on_token = lambda _sequence, _token, text, _logprob: streamed.append(text)
        found = run(engine, [request])["b"].outputs[0]
    assert (found.text, found.finish_reason) == (plain.text[:cut], "stop")
    assert "".join(streamed) == found.text
    assert found.token_ids == plain.token_ids[: found.token_count]


def test_streamed_text_is_the_final_text(model: Any) -> None:
    streamed: dict[str, str] = {}
    requests = mixed(8)
    for request in requests:
        request.params = request.params.model_copy(update={"stop": ("qqq", "zzzz", "no such")})
        request.on_token = lambda _n, _t, text, _p, id=request.id: streamed.update(
            {id: streamed.get(id, "") + text}
        )
    with running(model) as engine:
        found = run(engine, requests)
    assert streamed == {id: each.outputs[0].text for id, each in found.items()}


def test_end_tokens_stop_unless_ignored_or_too_early(model: Any) -> None:
    plain = alone(model, [ask("a", [30, 31], temperature=0.0, max_tokens=20)])["a"]
    end = plain[5]
    first = plain.index(end)
    with running(model, detokenizer=Letters(frozenset({end}))) as engine:
        found = run(
            engine,
            [
                ask("stops", [30, 31], temperature=0.0, max_tokens=20),
                ask("ignores", [30, 31], temperature=0.0, max_tokens=20, ignore_eos=True),
                ask("late", [30, 31], temperature=0.0, max_tokens=20, min_tokens=first + 3),
            ],
        )
    with running(model) as engine:
        by_id = run(
            engine, [ask("by id", [30, 31], temperature=0.0, max_tokens=20, stop_token_ids=[end])]
        )["by id"]
    assert tokens(found["stops"]) == plain[: first + 1] == tokens(by_id)
    assert found["stops"].outputs[0].finish_reason == by_id.outputs[0].finish_reason == "stop"
    assert tokens(found["ignores"]) == plain
    assert end not in tokens(found["late"])[: first + 3]


def test_bad_words_never_come(model: Any) -> None:
    plain = alone(model, [ask("a", [30, 31], temperature=0.0, max_tokens=20)])["a"]
    word = "".join(chr(token + A) for token in plain[3:5])
    with running(model) as engine:
        found = run(engine, [ask("a", [30, 31], temperature=0.0, max_tokens=20, bad_words=[word])])[
            "a"
        ].outputs[0]
    assert word not in found.text


@pytest.mark.parametrize("reason", ["cancelled", "expired"])
def test_cancel_hands_back_the_partial_text(model: Any, reason: Any) -> None:
    stepped = threading.Event()
    request = ask("a", [5, 6], max_tokens=120, temperature=0.0, ignore_eos=True)
    with running(model) as engine:
        request.on_token = lambda *_: (stepped.set(), engine.cancel("a", reason))
        engine.submit(request)
        assert stepped.wait(20)
        output = collect(engine, 1)["a"].outputs[0]
        assert engine.room() == engine.slots
    assert output.finish_reason == reason and 1 <= output.token_count < 120


def test_requests_that_can_never_run_come_back_as_errors(model: Any) -> None:
    with running(model, context=64) as engine:
        found = run(
            engine,
            [
                ask("long", [5] * 60, max_tokens=5),
                ask("empty", [], max_tokens=4),
                ask("strange", [VOCABULARY], max_tokens=4),
                ask("fits", [5] * 60, max_tokens=4),
            ],
        )
    codes = {id: each.error and each.error[0] for id, each in found.items()}
    assert codes == {
        "long": "context_length_exceeded",
        "empty": "invalid_request",
        "strange": "invalid_request",
        "fits": None,
    }


def test_a_failing_step_fails_its_rows_and_not_the_engine(model: Any) -> None:
    with running(model) as engine:
        logits = engine._runner.logits

        def failing(*arguments: Any) -> torch.Tensor:
            engine._runner.logits = logits  # type: ignore[method-assign]
            raise RuntimeError("out of luck")

        engine._runner.logits = failing  # type: ignore[method-assign]
        failed = run(engine, [ask("a", [5, 6], max_tokens=4)])["a"]
        assert failed.error and failed.error[0] == "engine_error" and "luck" not in failed.error[1]
        assert len(tokens(run(engine, [ask("b", [5, 6], max_tokens=4, ignore_eos=True)])["b"])) == 4
        assert engine.room() == engine.slots


def test_a_prompt_of_one_token_has_one_log_probability_which_is_none(model: Any) -> None:
    with running(model) as engine:
        asked = {"a": [30], "b": [30, 31]}
        found = run(
            engine, [ask(name, ids, max_tokens=2, prompt_logprobs=1) for name, ids in asked.items()]
        )
    assert [each.logprob for each in found["a"].prompt_logprobs or []] == [None]
    assert [each.logprob is None for each in found["b"].prompt_logprobs or []] == [True, False]


def test_logprobs_are_the_models_own(model: Any) -> None:
    with running(model) as engine:
        found = run(
            engine,
            [
                ask(
                    "a",
                    [30, 31, 32],
                    seed=5,
                    max_tokens=6,
                    temperature=2.0,
                    top_k=20,
                    logprobs=3,
                    prompt_logprobs=2,
                ),
                ask("b", [30, 31], max_tokens=6),
            ],
        )
    output = found["a"].outputs[0]
    assert found["b"].outputs[0].logprobs is None and found["b"].prompt_logprobs is None
    whole = [30, 31, 32, *output.token_ids]
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        log_p = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    told = [*(found["a"].prompt_logprobs or []), *(output.logprobs or [])]
    assert len(told) == len(whole) and told[0].logprob is None
    for at, entry in enumerate(told[1:]):
        assert entry.token.token_id == whole[at + 1]
        assert entry.logprob == pytest.approx(log_p[at, whole[at + 1]].item(), abs=1e-4)
        best = log_p[at].topk(len(entry.top))
        assert [spelling.token_id for _, spelling in entry.top] == best.indices.tolist()


def test_a_special_token_named_in_stop_ends_the_text(model: Any) -> None:
    with running(model) as engine:
        asked = {"temperature": 0.0, "max_tokens": 20, "logit_bias": {4: 100.0}}
        found = run(
            engine,
            [
                ask("stops", [30, 31], stop=["<4>"], **asked),
                ask("ignores ends", [30, 31], stop=["<4>"], ignore_eos=True, **asked),
                ask("late", [30, 31], stop=["<4>"], min_tokens=5, **asked),
                ask("goes on", [30, 31], **asked),
            ],
        )
    ends = {id: (each.outputs[0].finish_reason, len(tokens(each))) for id, each in found.items()}
    assert ends == {
        "stops": ("stop", 1),
        "ignores ends": ("stop", 1),
        "late": ("stop", 6),
        "goes on": ("length", 20),
    }


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
