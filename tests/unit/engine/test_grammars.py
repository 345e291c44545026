"""What holds for rows whose text is bound to a grammar, on a tiny random model in float32."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import takewhile
from typing import Any

import jsonschema_rs
import pytest
import torch

from common.generation import NewToken, Request
from tests.support.tokenizers import THINK, THOUGHT, byte_fallback, for_json
from tests.unit.engine.guided import PERSON, PROMPT, SCHEMA, bound, guided, json_model
from tests.unit.engine.tiny import assert_same, run, tokens
from worker.engine.batching import BatchingEngine

KINDS: list[dict[str, Any] | None] = [
    SCHEMA,
    None,
    {"regex": r"[a-c]{3,6}(x|yz)"},
    {"choice": ["yes", "no", "maybe"]},
    None,
    {"json": True},
    {"grammar": 'start: "a" ("," start)?'},
]


@pytest.fixture(scope="module")
def model() -> Any:
    return json_model()


def mixed(count: int = 14) -> list[Request]:
    """Bound and free rows that all decode differently."""
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 2.0, "top_p": 0.9},
        {"temperature": 1.0, "repetition_penalty": 1.3, "logprobs": 2},
        {"temperature": 0.9, "top_k": 5, "presence_penalty": 0.5},
    ]
    return [
        bound(
            str(n),
            KINDS[n % len(KINDS)],
            seed=n,
            prompt=[*PROMPT, 40 + n],
            **{"max_tokens": 40, **settings[n % len(settings)]},
        )
        for n in range(count)
    ]


def alone(model: Any, requests: list[Request]) -> dict[str, list[int]]:
    with guided(model) as engine:
        return {each.id: tokens(run(engine, [each])[each.id]) for each in requests}


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 5.0},
        {"top_p": 0.8, "logprobs": 2},
        {"repetition_penalty": 1.2, "min_p": 0.1},
        {"typical_p": 0.5},
    ],
)
def test_rows_of_a_schema_are_valid_and_end_by_themselves(
    model: Any, params: dict[str, Any]
) -> None:
    with guided(model) as engine:
        found = run(engine, [bound(str(n), SCHEMA, seed=n, **params) for n in range(8)])
    for each in found.values():
        output = each.outputs[0]
        assert each.error is None and output.finish_reason == "stop" and output.json_valid
        jsonschema_rs.validate(PERSON, json.loads(output.text))


def test_a_row_ends_with_the_last_token_of_its_text(model: Any) -> None:
    """No step is spent on an end token where nothing else could follow."""
    with guided(model) as engine:
        output = run(engine, [bound("a", {"choice": ["yes", "no"]})])["a"].outputs[0]
    assert output.text in ("yes", "no") and output.finish_reason == "stop"
    ends = for_json().eos_ids
    assert output.token_ids[-1] not in ends
    assert "".join(for_json().spell(token).text for token in output.token_ids) == output.text


def test_tokens_of_a_byte_each_make_whole_characters(model: Any) -> None:
    outputs = {"choice": ["ä", "\N{GRINNING FACE}", "日本"]}
    with guided(model, byte_fallback()) as engine:
        found = run(engine, [bound(str(n), outputs, seed=n, temperature=3.0) for n in range(12)])
    texts = {each.outputs[0].text for each in found.values()}
    assert texts <= set(outputs["choice"]) and len(texts) > 1


def test_bound_and_free_rows_are_the_same_alone_and_in_any_batch(model: Any) -> None:
    requests = mixed()
    expected = alone(model, requests)
    for order in range(2):
        shuffled = random.Random(order).sample(requests, len(requests))
        with guided(model, slots=5 + order, token_budget=32) as engine:
            found = run(engine, shuffled)
        for request in requests:
            assert_same(model, request, tokens(found[request.id]), expected[request.id])


def test_bound_rows_are_the_same_after_preemptions(model: Any) -> None:
    requests = mixed()
    expected = alone(model, requests)
    with guided(model, kv_tokens=160, context=96) as engine:
        found = run(engine, requests)
        assert engine.scheduler.preemptions > 0
    for request in requests:
        assert_same(model, request, tokens(found[request.id]), expected[request.id])


def test_bound_rows_are_the_same_after_a_resume_from_any_checkpoint(model: Any) -> None:
    requests = [each for each in mixed() if each.params.logprobs is None]
    expected = alone(model, requests)
    for at in (0, 1, 4, 11, 40):
        told: dict[str, list[int]] = {each.id: [] for each in requests}
        resumed = []
        for each in requests:
            again = replace(each, resume=[expected[each.id][:at]])
            again.on_token = lambda new, into=told[each.id]: into.append(new.token)
            resumed.append(again)
        with guided(model) as engine:
            found = run(engine, resumed)
        for each in requests:
            assert tokens(found[each.id]) == expected[each.id]
            assert told[each.id] == expected[each.id][at:], "what came before was told before"


@pytest.mark.parametrize("kept", [[PROMPT], [[2, 3, 5]], [[10_000]]])
def test_tokens_that_the_grammar_refuses_start_a_row_from_its_prompt(
    model: Any, kept: list[list[int]]
) -> None:
    request = bound("a", SCHEMA, temperature=0.0)
    expected = alone(model, [request])["a"]
    told: list[int] = []
    again = replace(request, resume=kept, on_token=lambda new: told.append(new.token))
    with guided(model) as engine:
        assert tokens(run(engine, [again])["a"]) == expected
    assert told == expected[len(kept[0]) :]


def is_text(token: int) -> bool:
    """Whether a token is text by itself: a model of random weights also writes parts of characters
    that make none."""
    return bool(for_json().name(token)) and for_json().spell(token).raw is None


def test_any_text_as_a_grammar_changes_no_greedy_row(model: Any) -> None:
    prompts = [[*PROMPT, 50 + 2 * n] for n in range(100)]
    greedy: dict[str, Any] = {"temperature": 0.0, "max_tokens": 8}
    free = [bound(str(n), None, prompt=p, **greedy) for n, p in enumerate(prompts)]
    anything = {"regex": r"(.|\n)*"}
    tied = [bound(str(n), anything, prompt=p, **greedy) for n, p in enumerate(prompts)]
    with guided(model) as engine:
        expected, found = run(engine, free), run(engine, tied)
    marks = {for_json().added_id(THINK), for_json().added_id(THOUGHT)}
    compared = 0
    for id, each in expected.items():
        same = list(takewhile(lambda token: token not in marks and is_text(token), tokens(each)))
        assert tokens(found[id])[: len(same)] == same
        compared += len(same)
    assert compared > 60


def test_continuations_of_one_prompt_each_follow_the_grammar(model: Any) -> None:
    with guided(model) as engine:
        found = run(engine, [bound("a", SCHEMA, n=6, temperature=1.5)])["a"]
    texts = [output.text for output in found.outputs]
    for text in texts:
        jsonschema_rs.validate(PERSON, json.loads(text))
    assert len(set(texts)) == 6


def test_log_probabilities_are_those_before_the_mask(model: Any) -> None:
    with guided(model) as engine:
        found = run(engine, [bound("a", {"choice": ["yes", "no"]}, logprobs=3)])["a"]
    output = found.outputs[0]
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        whole = torch.tensor([PROMPT + output.token_ids])
        expected = model(input_ids=whole, use_cache=False).logits[0, len(PROMPT) - 1 :].float()
    expected = expected.log_softmax(-1)
    assert output.logprobs
    for place, (token, each) in enumerate(zip(output.token_ids, output.logprobs, strict=True)):
        assert each.logprob == pytest.approx(expected[place, token].item(), abs=1e-4)
        likeliest = [spelling.token_id for _, spelling in each.top]
        assert likeliest == expected[place].topk(3).indices.tolist()


def fails_once(engine: BatchingEngine, times: int = 1) -> None:
    """The next steps fail after everything was computed and drawn."""
    compute = engine._compute
    left = [times]

    def failing(chunks: Any) -> Any:
        found = compute(chunks)
        if left[0] and found[0]:
            left[0] -= 1
            raise RuntimeError("out of luck")
        return found

    engine._compute = failing  # type: ignore[method-assign]  # breaks it


def test_a_step_that_is_computed_again_moves_no_grammar_twice(model: Any) -> None:
    requests = mixed()
    expected = alone(model, requests)
    with guided(model) as engine:
        fails_once(engine)
        found = run(engine, requests)
    for request in requests:
        assert_same(model, request, tokens(found[request.id]), expected[request.id])


def test_a_text_that_is_cut_off_is_kept_and_is_no_valid_json(model: Any) -> None:
    with guided(model) as engine:
        output = run(engine, [bound("a", SCHEMA, max_tokens=5)])["a"].outputs[0]
    assert (output.finish_reason, output.json_valid, output.token_count) == ("length", False, 5)
    assert output.text.startswith("{")


def test_a_number_that_is_cut_off_is_no_valid_json(model: Any) -> None:
    number = {"json_schema": {"type": "integer", "minimum": 100_000, "maximum": 999_999}}
    with guided(model) as engine:
        found = run(engine, [bound("a", number, max_tokens=1), bound("b", number)])
    cut, whole = found["a"].outputs[0], found["b"].outputs[0]
    assert cut.finish_reason == "length" and 0 < int(cut.text) < 100_000
    assert cut.json_valid is False and whole.json_valid is True


@pytest.mark.parametrize("label", ["x\ufffd", "\ufffd"])
def test_a_replacement_character_at_the_end_of_a_text_stays(model: Any, label: str) -> None:
    with guided(model) as engine:
        output = run(engine, [bound("a", {"choice": [label]})])["a"].outputs[0]
    assert (output.text, output.finish_reason) == (label, "stop")


def test_validity_is_told_of_json_only(model: Any) -> None:
    with guided(model) as engine:
        found = run(engine, [bound("a", {"choice": ["yes"]}), bound("b", None, max_tokens=3)])
    assert found["a"].outputs[0].json_valid is None and found["b"].outputs[0].json_valid is None


def test_streamed_text_of_a_bound_row_is_its_text(model: Any) -> None:
    told: list[NewToken] = []
    request = bound("a", SCHEMA)
    request.on_token = told.append
    with guided(model) as engine:
        output = run(engine, [request])["a"].outputs[0]
    assert "".join(new.text for new in told) == output.text
    assert not any(new.reasoning for new in told)
