"""An error while a row's text is made fails that row alone, with both engines."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from common.generation import Spelling
from tests.unit.engine.faulty import (
    SECRET,
    assert_only_the_guilty_fails,
    guilty,
    healthy,
    undisturbed,
)
from tests.unit.engine.test_generate import build_seq2seq
from tests.unit.engine.tiny import Letters, build, run, running, tokens
from worker.engine.generate import GenerateEngine


@pytest.fixture
def model() -> Any:
    return build("llama")


class Refusing(Letters):
    """Raises where it is to decode one of the bad tokens, at one of its doors."""

    def __init__(self, door: str, bad: set[int]):
        super().__init__()
        self.door, self.bad = door, bad

    def stream(self) -> Refusing:
        return self

    def step(self, token_id: int) -> str:
        if self.door == "step" and token_id in self.bad:
            raise RuntimeError(SECRET)
        return super().step(token_id)

    def spell(self, token_id: int) -> Spelling:
        if self.door == "spell" and token_id in self.bad:
            raise RuntimeError(SECRET)
        return super().spell(token_id)

    def encode(self, text: str, special: bool = True) -> list[int]:
        if self.door == "encode" and text.strip() == "bad":
            raise RuntimeError(SECRET)
        return super().encode(text, special)


@pytest.mark.parametrize("kind", ["batching", "generate"])
@pytest.mark.parametrize("door", ["step", "spell", "encode", "on_token", "resume"])
def test_an_error_of_one_rows_text_fails_that_row_alone(model: Any, door: str, kind: str) -> None:
    requests = healthy(5)
    expected = undisturbed(model, requests)
    said = {token for row in expected.values() for token in row}
    bad = next(token for token in range(20, 90) if token not in said)
    at_fault = guilty(logit_bias={bad: 100.0})
    if door == "encode":
        at_fault = guilty(bad_words=["bad"])
    elif door == "spell":
        at_fault = guilty(logit_bias={bad: 100.0}, logprobs=0)
    elif door == "resume":
        at_fault.resume = [[5, 300]]  # 300 is no token at all
    elif door == "on_token":

        def refuse(*_: Any) -> None:
            raise RuntimeError(SECRET)

        at_fault.on_token = refuse
    detokenizer = Refusing("step" if door == "resume" else door, {bad, 300})
    if kind == "generate":
        model.set_attn_implementation("eager")
        engine: Any = GenerateEngine(model, detokenizer, slots=16, context=128)
        engine.start()
        try:
            found = run(engine, [*requests[:2], at_fault, *requests[2:]])
        finally:
            engine.stop()
    else:
        with running(model, detokenizer=detokenizer) as engine:
            found = run(engine, [*requests[:2], at_fault, *requests[2:]])
            assert engine.scheduler.pool.free == engine.scheduler.pool.count
    assert_only_the_guilty_fails(found, expected)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_generate_batch_that_fails_goes_on_in_halves(family: str) -> None:
    model = build_seq2seq("t5") if family == "t5" else build("llama")
    requests = healthy(5, temperature=1.0)

    def outcome(asked: list[Any], fault: bool) -> tuple[dict[str, Any], dict[str, list[int]]]:
        streamed: dict[str, list[int]] = {}
        for request in asked:
            request.on_token = lambda new, id=request.id: streamed.setdefault(id, []).append(
                new.token
            )
        engine = GenerateEngine(model, Letters(), slots=16, context=128)
        step = engine.step

        def failing(batch: Any, scores: torch.Tensor) -> torch.Tensor:
            if fault and any(each.request.id == "guilty" and each.generated == 3 for each in batch):
                raise RuntimeError(SECRET)
            return step(batch, scores)

        engine.step = failing  # type: ignore[method-assign]
        engine.start()
        try:
            return run(engine, asked), streamed
        finally:
            engine.stop()

    plain, _ = outcome(requests, fault=False)
    expected = {id: tokens(each) for id, each in plain.items()}
    found, streamed = outcome([*requests[:2], guilty(), *requests[2:]], fault=True)
    streamed.pop("guilty")
    assert_only_the_guilty_fails(found, expected)
    assert streamed == expected
