"""Models that think before they answer: the grammar binds the answer alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema_rs
import pytest

from common.generation import NewToken, Request, ThinkingSpan
from tests.support.tokenizers import THINK, THOUGHT, for_json
from tests.unit.engine.guided import PERSON, SCHEMA, bound, guided, json_model, thinks
from tests.unit.engine.tiny import run, tokens
from worker.engine.batching import BatchingEngine

BEGIN, CLOSE = thinks().start_id, thinks().end_id
(END,) = for_json().eos_ids


@pytest.fixture(scope="module")
def model() -> Any:
    return json_model()


def spelled(ids: list[int]) -> str:
    stream = for_json().stream()
    return "".join(map(stream.step, ids))


def one(model: Any, request: Request) -> tuple[Any, list[NewToken]]:
    with guided(model) as engine:
        return one_of(engine, request)


def one_of(engine: BatchingEngine, request: Request) -> tuple[Any, list[NewToken]]:
    told: list[NewToken] = []
    request.on_token = told.append
    found = run(engine, [request])[request.id]
    assert found.error is None, found.error
    return found.outputs[0], told


@pytest.mark.parametrize("most", [0, 1, 7])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_thoughts_end_at_their_limit_and_the_answer_follows_the_grammar(
    model: Any, most: int, temperature: float
) -> None:
    span = thinks(open=True, max_tokens=most)
    asked = bound("a", SCHEMA, thinking=span, temperature=temperature, logit_bias={CLOSE: -100.0})
    output, told = one(model, asked)
    assert output.token_ids.index(CLOSE) == most
    assert output.reasoning == spelled(output.token_ids[:most])
    assert output.reasoning_tokens == most + 1  # and the mark at their end
    jsonschema_rs.validate(PERSON, json.loads(output.text))
    assert output.json_valid and output.finish_reason == "stop"
    assert [new.reasoning for new in told] == [n <= most for n in range(output.token_count)]
    assert "".join(new.text for new in told if new.reasoning) == output.reasoning
    assert "".join(new.text for new in told if not new.reasoning) == output.text


def test_a_bound_row_may_begin_to_think_with_its_first_token_only(model: Any) -> None:
    span = thinks(max_tokens=5)
    eager = bound("a", SCHEMA, thinking=span, logit_bias={BEGIN: 100.0})
    output, _ = one(model, eager)
    assert output.token_ids[0] == BEGIN and BEGIN not in output.token_ids[7:]
    assert output.token_ids[1:7].index(CLOSE) <= 5
    jsonschema_rs.validate(PERSON, json.loads(output.text))


def test_a_bound_row_that_does_not_think_answers_at_once(model: Any) -> None:
    output, _ = one(model, bound("a", SCHEMA, thinking=thinks(), logit_bias={BEGIN: -100.0}))
    assert output.reasoning == "" and BEGIN not in output.token_ids
    assert output.reasoning_tokens == 0
    jsonschema_rs.validate(PERSON, json.loads(output.text))


def test_no_end_token_comes_in_the_thoughts_of_a_bound_row(model: Any) -> None:
    span = thinks(open=True, max_tokens=9)
    keen = bound("a", SCHEMA, thinking=span, temperature=0.0, logit_bias={END: 100.0, CLOSE: -100})
    output, _ = one(model, keen)
    assert END not in output.token_ids[:9] and output.token_ids[9] == CLOSE
    jsonschema_rs.validate(PERSON, json.loads(output.text))


def test_a_free_row_that_ends_while_it_thinks_has_no_answer(model: Any) -> None:
    keen = bound("a", None, thinking=thinks(open=True), temperature=0.0, logit_bias={END: 100.0})
    output, _ = one(model, keen)
    assert (output.text, output.reasoning, output.finish_reason) == ("", "", "stop")
    assert output.token_ids == [END]


def test_the_thoughts_of_a_free_row_are_told_apart_and_capped(model: Any) -> None:
    span = thinks(open=True, max_tokens=6)
    asked = bound("a", None, thinking=span, max_tokens=20, logit_bias={CLOSE: -100.0})
    output, told = one(model, asked)
    assert output.token_ids.index(CLOSE) == 6 and output.json_valid is None
    assert output.reasoning == spelled(output.token_ids[:6])
    assert output.text == spelled(output.token_ids[7:])
    assert THINK not in output.text and THOUGHT not in output.reasoning
    assert "".join(new.text for new in told if not new.reasoning) == output.text


def test_thoughts_that_never_end_are_all_reasoning(model: Any) -> None:
    asked = bound("a", SCHEMA, thinking=thinks(open=True), max_tokens=12, logit_bias={CLOSE: -100})
    output, _ = one(model, asked)
    assert (output.text, output.finish_reason, output.json_valid) == ("", "length", False)
    assert output.reasoning == spelled(output.token_ids) and output.token_count == 12


def test_stop_strings_end_the_answer_and_not_the_thoughts(model: Any) -> None:
    free = bound("a", None, temperature=0.0, max_tokens=12)
    with guided(model) as engine:
        plain = run(engine, [free])["a"].outputs[0]
    stop = next(letter for letter in plain.text if letter.isascii() and letter.isprintable())
    span = thinks(open=True, max_tokens=12)
    asked = bound(
        "a",
        None,
        thinking=span,
        temperature=0.0,
        max_tokens=12,
        stop=[stop],
        logit_bias={CLOSE: -100.0},
    )
    output, _ = one(model, asked)
    assert stop in (output.reasoning or "") and output.finish_reason == "length"


def test_rows_without_a_span_have_no_reasoning(model: Any) -> None:
    output, told = one(model, bound("a", None, max_tokens=4))
    assert output.reasoning is None and not any(new.reasoning for new in told)


@pytest.mark.parametrize("output", [SCHEMA, None])
@pytest.mark.parametrize("span", [thinks(open=True, max_tokens=4), thinks(max_tokens=4)])
def test_a_row_that_thinks_is_the_same_after_a_resume_from_any_checkpoint(
    model: Any, output: dict[str, Any] | None, span: ThinkingSpan
) -> None:
    request = bound("a", output, thinking=span, max_tokens=40, logit_bias={BEGIN: 100.0})
    # No block is ever full: nothing that was computed before is found again.
    with guided(model, block_size=64) as engine:
        whole, _ = one_of(engine, request)
        for at in range(min(14, whole.token_count)):
            again, told = one_of(engine, replace(request, resume=[whole.token_ids[:at]]))
            assert again == whole and [new.token for new in told] == whole.token_ids[at:]


def test_a_limit_of_thoughts_does_not_touch_other_rows(model: Any) -> None:
    plain = bound("a", None, temperature=0.0, max_tokens=20)
    with guided(model) as engine:
        expected = tokens(run(engine, [plain])["a"])
        thinker = bound("b", None, thinking=thinks(open=True, max_tokens=3), max_tokens=20)
        found = run(engine, [plain, thinker])
    assert tokens(found["a"]) == expected
