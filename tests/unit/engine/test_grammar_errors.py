"""How rows end that cannot follow their grammar, and that nothing else ends with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from common.structured.grammar import Grammar
from common.structured.guidance import Matcher, byte_guide
from tests.support.tokenizers import for_json
from tests.unit.engine.guided import SCHEMA, bound, grammar, guided, json_model
from tests.unit.engine.tiny import run, tokens
from worker.engine.sampling.grammar import Constraint


@pytest.fixture(scope="module")
def model() -> Any:
    return json_model()


def test_a_row_that_bans_leave_no_token_ends_with_its_own_error(model: Any) -> None:
    whole = {"choice": ["yyyy"]}
    letters = [y for length in range(1, 5) for y in ("y" * length, " " + "y" * length)]
    banned = bound("banned", {"regex": "a?yyyy"}, bad_words=letters, logit_bias={70: 5.0})
    beside = [bound(str(n), whole) for n in range(3)]
    with guided(model) as engine:
        found = run(engine, [beside[0], banned, *beside[1:]])
        free = [bound("free", None, max_tokens=4)]
        assert len(tokens(run(engine, free)["free"])) == 4
    failed = found.pop("banned")
    assert failed.error and failed.error[0] == "no_token_left"
    assert failed.outputs[0].text in ("", "a") and failed.outputs[0].finish_reason == "error"
    assert {each.outputs[0].text for each in found.values()} == {"yyyy"}


def test_logits_that_are_not_finite_are_no_matter_of_the_grammar(model: Any) -> None:
    with guided(model) as engine:
        logits = engine._runner.logits
        engine._runner.logits = (  # type: ignore[method-assign]  # breaks it
            lambda *arguments: logits(*arguments) * float("nan")
        )
        found = run(engine, [bound("a", SCHEMA), bound("b", SCHEMA, temperature=0.0)])
    assert [each.error and each.error[0] for each in found.values()] == ["engine_error"] * 2


def test_a_grammar_that_hits_a_limit_in_mid_text_ends_its_row_alone(model: Any) -> None:
    ambiguous = bound("hit", {"grammar": 'start: e\ne: e e | "a"'}, n=2, logit_bias=LATER)
    with guided(model) as engine:
        found = run(engine, [bound("beside", {"choice": ["yes"]}), ambiguous])
    failed = found["hit"]
    assert failed.error and failed.error[0] == "grammar_too_complex"
    assert [output.finish_reason for output in failed.outputs] == ["error"] * 2
    assert all(output.text.startswith("aaa") for output in failed.outputs)
    assert found["beside"].outputs[0].text == "yes"


def test_a_grammar_whose_tokens_take_too_long_ends_its_row_alone(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.sampling.grammar.SLOW", -1.0)  # every token is slow
    monkeypatch.setattr("worker.engine.sampling.grammar.MOST_SLOW", 0.0)
    with guided(model) as engine:
        found = run(engine, [bound("slow", SCHEMA), bound("free", None, max_tokens=9)])
    assert found["slow"].error and found["slow"].error[0] == "grammar_too_complex"
    assert len(tokens(found["free"])) == 9


class Slowed:
    """A matcher that does something else before each token."""

    def __init__(self, matcher: Matcher, first: Callable[[], None]):
        self._matcher, self._first = matcher, first
        self.failed, self.is_stopped = None, False

    def accept(self, token: int) -> bool:
        self._first()
        return self._matcher.accept(token)


def compute() -> None:
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass


@pytest.mark.parametrize(
    ("first", "error"), [(lambda: time.sleep(0.03), None), (compute, "it takes too long")]
)
def test_waiting_for_what_else_is_computed_is_not_time_of_a_grammar(
    monkeypatch: pytest.MonkeyPatch, first: Callable[[], None], error: str | None
) -> None:
    monkeypatch.setattr("worker.engine.sampling.grammar.SLOW", 0.02)
    monkeypatch.setattr("worker.engine.sampling.grammar.MOST_SLOW", 0.1)
    matcher = byte_guide().matcher(grammar(regex="a*"))
    constraint = Constraint(Slowed(matcher, first), None, frozenset())  # type: ignore[arg-type]
    for _ in range(8):
        constraint.push(ord("a"))
    assert constraint.error == error


LATER = dict.fromkeys(for_json().eos_ids, -100.0)


def test_a_grammar_that_cannot_be_compiled_comes_back_as_the_error_of_its_row(model: Any) -> None:
    bad = bound("bad", None)
    bad.grammar = Grammar('{"grammars": [{"lark_grammar": "start: nowhere"}]}')
    with guided(model) as engine:
        found = run(engine, [bad, bound("good", {"choice": ["yes"]})])
        assert engine.room() == engine.slots
    assert found["bad"].error and found["bad"].error[0] == "invalid_grammar"
    assert found["good"].outputs[0].text == "yes"


def test_without_a_guide_bound_rows_are_refused_by_name(model: Any) -> None:
    with guided(model, guide=None) as engine:
        found = run(engine, [bound("a", SCHEMA), bound("b", None, max_tokens=2)])
    assert found["a"].error and found["a"].error[0] == "unsupported"
    assert len(tokens(found["b"])) == 2
