"""Texts that are scored instead of generated, on tiny random models in float32."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from common.generation import Finished, Request
from tests.unit.engine.faulty import GUILTY, assert_only_the_guilty_fails, fails_at_the_guilty_row
from tests.unit.engine.faulty import guilty as guilty_row
from tests.unit.engine.scored import TEXTS, assert_scored, counted, forced, score
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
from worker.engine.batching import BatchingEngine


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama")


@pytest.mark.parametrize(
    "family", ["llama", "mistral", "gemma2", "gpt2", "qwen3_moe", "gpt_oss", "opt"]
)
def test_scores_equal_a_teacher_forced_pass(family: str) -> None:
    model = build(family)
    asked = [score(str(n), ids) for n, ids in enumerate(prompts(6, shortest=1, longest=50))]
    with running(model) as engine:
        found = run(engine, asked)
    for request in asked:
        assert_scored(model, request, found[request.id])


@pytest.mark.parametrize("budget", [5, 64, None])
def test_scores_are_the_same_in_company_and_leave_it_alone(model: Any, budget: int | None) -> None:
    others = mixed()
    expected = alone(model, others)
    asked = [score(f"s{n}", ids) for n, ids in enumerate(prompts(8, seed=5))]
    together = [each for pair in zip(others, asked, strict=False) for each in pair] + others[8:]
    with running(model, token_budget=budget) as engine:
        found = run(engine, together)
    for request in asked:
        assert_scored(model, request, found[request.id])
    for request in others:
        assert_same(model, request, tokens(found[request.id]), expected[request.id])


def test_scores_are_the_same_after_preemptions(model: Any) -> None:
    asked = [score(f"s{n}", ids) for n, ids in enumerate(prompts(12, seed=5))]
    others = mixed(8)
    with running(model, kv_tokens=160, context=96) as engine:
        found = run(engine, [*asked, *others])
        assert engine.scheduler.preemptions > 0
    for request in asked:
        assert_scored(model, request, found[request.id])


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 61])
def test_a_prompt_is_computed_once_for_all_its_continuations(model: Any, length: int) -> None:
    ids = prompts(1, shortest=length, longest=length)[0]
    texts = [[20 + n] for n in range(64)]
    longer = [[20 + n, 21 + n, 22 + n] for n in range(32)]
    with running(model) as engine:
        computed = counted(engine)
        found = run(engine, [score("a", ids, texts)])
        assert computed == [length], "one pass over the prompt tells of all their first tokens"
        engine.forget_prefixes()
        computed.clear()
        found |= run(engine, [score("b", ids, longer)])
    assert sum(computed) == length + 2 * len(longer), "but for their last tokens, which follow"
    assert_scored(model, score("a", ids, texts), found["a"])
    assert_scored(model, score("b", ids, longer), found["b"])
    assert (found["b"].prompt_tokens, found["b"].completion_tokens) == (length, 96)


def test_texts_that_begin_alike_are_computed_once_as_far_as_they_are_alike(model: Any) -> None:
    ids, alike = prompts(2, shortest=20, longest=20)
    texts = [[*alike, 20 + n, 5] for n in range(8)]
    with running(model) as engine:
        computed = counted(engine)
        found = run(engine, [score("a", ids, texts)])
    assert sum(computed) == 20 + 20 + 8
    assert_scored(model, score("a", ids, texts), found["a"])


def test_a_prompt_in_the_prefix_cache_is_not_computed_again(model: Any) -> None:
    ids = prompts(1, shortest=32, longest=32)[0]
    with running(model) as engine:
        run(engine, [ask("first", ids, max_tokens=2)])
        computed = counted(engine)
        found = run(engine, [score("a", ids, [[20], [21]])])
    assert computed == [8], "the last block, whose last token's logits are needed"
    assert_scored(model, score("a", ids, [[20], [21]]), found["a"])


def test_the_prefix_cache_never_has_scored_texts(model: Any) -> None:
    """Their blocks are written again and again."""
    ids = prompts(1, shortest=6, longest=6)[0]
    texts = [[n, *prompts(1, shortest=30, longest=30, seed=n)[0]] for n in range(20, 26)]
    asked = [
        ask(str(n), [*ids, *text], temperature=0.0, max_tokens=6) for n, text in enumerate(texts)
    ]
    expected = alone(model, asked)
    with running(model) as engine:
        engine.submit(score("scored", ids, texts))
        found = run_beside(engine, asked)
        assert_scored(model, score("scored", ids, texts), found.pop("scored"))
        found |= {
            f"{each.id} again": done for each in asked for done in run(engine, [each]).values()
        }
    for request in asked:
        for name in (request.id, f"{request.id} again"):
            assert_same(model, request, tokens(found[name]), expected[request.id])


def run_beside(engine: BatchingEngine, asked: list[Request]) -> dict[str, Finished]:
    for request in asked:
        engine.submit(request)
    return collect(engine, len(asked) + 1)


def test_an_empty_prompt_scores_a_text_from_its_second_token_on(model: Any) -> None:
    texts = prompts(3, shortest=2, longest=60)
    with running(model) as engine:
        found = run(engine, [score("a", [], texts, logprobs=0)])["a"]
    assert_scored(model, score("a", [], texts), found)
    for each, text in zip(found.continuations or [], texts, strict=True):
        told = each.logprobs or []
        assert [entry.token.token_id for entry in told] == text
        assert told[0].logprob is None and each.token_count == len(text) - 1


def test_logprobs_of_continuations_are_told_token_by_token(model: Any) -> None:
    ids = [40, 41, 42, 43]
    with running(model) as engine:
        found = run(engine, [score("a", ids, logprobs=3, prompt_logprobs=2), score("b", ids)])
    assert found["b"].continuations and found["b"].continuations[0].logprobs is None
    for each, text in zip(found["a"].continuations or [], TEXTS, strict=True):
        log_p, told = forced(model, ids + text), each.logprobs or []
        assert [entry.token.token_id for entry in told] == text
        for at, entry in enumerate(told):
            place = log_p[len(ids) + at - 1]
            assert entry.logprob == pytest.approx(place[text[at]].item(), abs=1e-4)
            assert [spelling.token_id for _, spelling in entry.top] == place.topk(
                3
            ).indices.tolist()
    prompt = found["a"].prompt_logprobs or []
    assert [entry.logprob is None for entry in prompt] == [True, False, False, False]


@pytest.mark.parametrize(
    ("ids", "texts", "told"),
    [
        ([5], [[6], []], "continuation 2 has no tokens"),
        ([], [[6, 7], [6]], "continuation 2 is one token"),
        ([5], [[VOCABULARY]], "vocabulary"),
        ([5], [[6] * 128], "maximum context length is 128"),
        ([5] * 128, [[6]], "maximum context length is 128"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    model: Any, ids: list[int], texts: list[list[int]], told: str
) -> None:
    with running(model) as engine:
        found = run(engine, [score("a", ids, texts), score("b", [5], [[6] * 127])])
        assert engine.room() == engine.slots
    error = found["a"].error
    assert error and told in error[1]
    assert found["b"].error is None, "the longest that fits"


def test_a_row_at_fault_fails_alone_beside_rows_that_are_scored(model: Any) -> None:
    asked = [
        score(str(n), [token for token in ids if token != GUILTY] + [5], [[20, 21], [22, 23]])
        for n, ids in enumerate(prompts(6))
    ]
    calls: list[int] = []
    with running(model) as engine:
        fails_at_the_guilty_row(engine, calls, lambda: RuntimeError("somebody's text"))
        found = run(engine, [*asked[:3], guilty_row(), *asked[3:]])
    for request in asked:
        assert_scored(model, request, found.pop(request.id))
    assert_only_the_guilty_fails(found, {})


def test_a_scored_row_at_fault_fails_alone(model: Any) -> None:
    others = [ask(str(n), ids, temperature=0.0, max_tokens=6) for n, ids in enumerate(prompts(4))]
    others = [each for each in others if GUILTY not in each.prompt_ids]
    expected = alone(model, others)
    with running(model) as engine:
        fails_at_the_guilty_row(engine, [], lambda: RuntimeError("somebody's text"))
        found = run(engine, [*others, score("guilty", [4, GUILTY, 6])])
    assert_only_the_guilty_fails(found, expected)


def test_logits_that_are_no_numbers_fail_the_request(model: Any) -> None:
    with running(model) as engine:
        logits = engine._runner.logits

        def broken(*arguments: Any) -> torch.Tensor:
            return logits(*arguments) * math.nan

        engine._runner.logits = broken  # type: ignore[assignment, method-assign]  # breaks it
        found = run(engine, [score("a", [5, 6])])["a"]
        assert engine.room() == engine.slots
    assert found.error and "not finite" in found.error[1]


@pytest.mark.parametrize("reason", ["cancelled", "expired"])
def test_a_cancelled_request_ends_without_scores_and_keeps_no_checkpoint(
    model: Any, reason: Any
) -> None:
    texts = [[3 + n % 90, *prompts(1, shortest=40, longest=40, seed=n)[0]] for n in range(64)]
    with running(model, token_budget=8) as engine:
        computed = counted(engine)
        engine.submit(score("a", [5, 6, 7], texts))
        while not computed:
            pass
        assert engine.checkpoint(["a"]) == {"a": [[]]}
        engine.cancel("a", reason)
        found = collect(engine, 1)["a"]
        assert engine.room() == engine.slots and not engine.scheduler.running
    assert found.continuations is None and found.error is None
    assert [(each.text, each.token_ids, each.finish_reason) for each in found.outputs] == [
        ("", [], reason)
    ]


def test_interactive_requests_are_scored_while_a_batch_runs(model: Any) -> None:
    request = score("a", prompts(1, shortest=40, longest=40)[0])
    request.interactive = True
    others = [ask(str(n), ids, max_tokens=30) for n, ids in enumerate(prompts(12))]
    with running(model, slots=4, token_budget=32) as engine:
        for each in others:
            engine.submit(each)
        engine.submit(request)
        found = collect(engine, 13)
    assert_scored(model, request, found["a"])


@pytest.mark.parametrize("length", [7, 8, 61])
def test_texts_of_a_lone_request_are_computed_together(model: Any, length: int) -> None:
    ids = prompts(1, shortest=length, longest=length)[0]
    texts = [[20 + n, 30 + m, 5] for n in range(4) for m in range(4)]
    with running(model, slots=16) as engine:
        computed = counted(engine)
        found = run(engine, [score("a", ids, texts)])
        assert engine.scheduler.pool.free == engine.scheduler.pool.count
    assert_scored(model, score("a", ids, texts), found["a"])
    # The prompt with the first text; what begins like it, and the first of each other beginning;
    # the rest, from the prompt on.
    assert computed == [length + 2, 3 * 1 + 3 * 2, 9 * 2]


def test_texts_are_computed_one_by_one_where_no_slot_or_block_is_free(model: Any) -> None:
    ids = prompts(1, shortest=20, longest=20)[0]
    texts = [[20 + n, 30] for n in range(8)]
    for settings in ({"slots": 1}, {"kv_tokens": 32, "context": 32}):
        with running(model, **settings) as engine:
            computed = counted(engine)
            found = run(engine, [score("a", ids, texts)])
        assert_scored(model, score("a", ids, texts), found["a"])
        assert computed == [21, *[1] * 7], settings


def test_a_step_with_several_texts_of_a_row_that_fails_is_made_again_without_them(
    model: Any,
) -> None:
    ids = prompts(1, shortest=20, longest=20)[0]
    texts = [[20 + n, 30] for n in range(8)]
    with running(model) as engine:
        logits, calls = engine._runner.logits, 0

        def failing(new: Any, *arguments: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if len(new) > 1 and calls < 4:
                raise RuntimeError("out of luck")
            return logits(new, *arguments)

        engine._runner.logits = failing  # type: ignore[assignment, method-assign]  # breaks it
        found = run(engine, [score("a", ids, texts)])
        assert engine.scheduler.pool.free == engine.scheduler.pool.count and calls > 3
    assert_scored(model, score("a", ids, texts), found["a"])
