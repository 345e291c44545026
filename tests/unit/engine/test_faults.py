"""One row's failure stays its own: whatever goes wrong for a row, the rows beside it get what they
get without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from common.generation import Spelling
from tests.unit.engine.test_generate import build_seq2seq
from tests.unit.engine.tiny import Letters, ask, build, collect, prompts, run, running, tokens
from worker.engine import batching
from worker.engine.batching import BatchingEngine
from worker.engine.generate import GenerateEngine
from worker.engine.scheduling.open_requests import OpenRequests

GUILTY = 77  # a token that only the guilty prompt has
SECRET = "somebody's text"


@pytest.fixture
def model() -> Any:
    return build("llama")


def healthy(count: int = 9, **params: Any) -> list[Any]:
    wanted: dict[str, Any] = {"temperature": 0.0, "max_tokens": 12, "ignore_eos": True, **params}
    asked = [[token for token in ids if token != GUILTY] + [5] for ids in prompts(count)]
    return [ask(str(n), ids, seed=n, **wanted) for n, ids in enumerate(asked)]


def guilty(**params: Any) -> Any:
    return ask("guilty", [4, GUILTY, 6], **{"max_tokens": 12, "temperature": 0.0, **params})


def fails_at_the_guilty_row(
    engine: BatchingEngine, calls: list[int], error: Callable[[], Exception]
) -> None:
    """From now on every step with the guilty row fails; how many rows each had is noted."""
    logits = engine._runner.logits

    def failing(new: Any, rows: Any, wanted: Any) -> torch.Tensor:
        calls.append(len(rows))
        bad = {
            id(each.blocks)
            for each in engine.scheduler.running
            if GUILTY in each.request.prompt_ids
        }
        if any(id(blocks) in bad for blocks, _ in rows):
            raise error()
        return logits(new, rows, wanted)

    engine._runner.logits = failing  # type: ignore[assignment, method-assign]  # breaks it


def assert_only_the_guilty_fails(found: dict[str, Any], expected: dict[str, Any]) -> None:
    failed = found.pop("guilty")
    assert failed.error[0] == "engine_error" and SECRET not in failed.error[1]
    assert {id: tokens(each) for id, each in found.items()} == expected


def undisturbed(model: Any, requests: list[Any]) -> dict[str, list[int]]:
    with running(model) as engine:
        return {id: tokens(each) for id, each in run(engine, requests).items()}


@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_step_that_fails_is_halved_until_the_row_at_fault_is_found(
    model: Any, place: int
) -> None:
    requests = healthy()
    expected = undisturbed(model, requests)
    streamed: dict[str, list[int]] = {}
    for request in requests:
        request.on_token = lambda _n, token, _t, _p, id=request.id: streamed.setdefault(
            id, []
        ).append(token)
    calls: list[int] = []
    with running(model) as engine:
        fails_at_the_guilty_row(engine, calls, lambda: RuntimeError(SECRET))
        found = run(engine, [*requests[:place], guilty(), *requests[place:]])
        assert engine.room() == engine.slots
        assert engine.scheduler.pool.free == engine.scheduler.pool.count
    assert_only_the_guilty_fails(found, expected)
    assert streamed == expected, "no token is told twice"
    first = calls.index(10)
    reruns = calls[first + 1 : first + 1 + 2 * math.ceil(math.log2(10))]
    assert 1 in reruns and max(calls[first + len(reruns) + 1 :]) == 9, (
        "it is found in two runs for each halving"
    )


def test_rows_that_share_a_prefix_within_the_failed_step_are_unharmed(model: Any) -> None:
    shared = [token for token in prompts(1, shortest=40, longest=40)[0] if token != GUILTY]
    requests = [
        ask(str(n), [*shared, 20 + n], temperature=0.0, max_tokens=8, ignore_eos=True)
        for n in range(6)
    ]
    expected = undisturbed(model, requests)
    sharing = ask("guilty", [*shared, GUILTY], temperature=0.0, max_tokens=8)
    for order in ([sharing, *requests], [*requests[:3], sharing, *requests[3:]]):
        with running(build("llama"), token_budget=256) as engine:
            fails_at_the_guilty_row(engine, [], lambda: RuntimeError(SECRET))
            found = run(engine, order)
        assert_only_the_guilty_fails(found, expected)


def test_a_failure_that_is_nobodys_costs_nobody_anything(model: Any) -> None:
    requests = healthy()
    expected = undisturbed(model, requests)
    with running(model) as engine:
        logits = engine._runner.logits
        calls = 0

        def failing(*arguments: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls in (2, 5):
                raise RuntimeError("once")
            return logits(*arguments)

        engine._runner.logits = failing  # type: ignore[assignment, method-assign]  # breaks it
        found = run(engine, requests)
    assert {id: tokens(each) for id, each in found.items()} == expected


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_a_step_without_memory_is_halved_and_nobody_fails(
    model: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "GOOD_STEPS", 4)
    requests = healthy()
    expected = undisturbed(model, requests)
    with running(model) as engine:
        logits = engine._runner.logits
        most = 0

        def failing(new: Any, rows: Any, wanted: Any) -> torch.Tensor:
            nonlocal most
            if sum(map(len, new)) > 30:
                raise error
            most = max(most, sum(map(len, new)))
            return logits(new, rows, wanted)

        engine._runner.logits = failing  # type: ignore[assignment, method-assign]  # breaks it
        found = run(engine, requests)
        assert 15 <= most <= 30
        engine._runner.logits = logits  # type: ignore[method-assign]
        run(engine, [ask("more", [5, 6], temperature=0.0, max_tokens=120, ignore_eos=True)])
        assert engine.scheduler.token_budget == 1024, "memory that came back is used again"
    assert {id: tokens(each) for id, each in found.items()} == expected


def test_a_row_that_one_token_takes_out_of_memory_fails(model: Any) -> None:
    with running(model) as engine:
        logits = engine._runner.logits

        def failing(*_: Any) -> torch.Tensor:
            raise MemoryError

        engine._runner.logits = failing  # type: ignore[assignment, method-assign]  # breaks it
        failed = run(engine, [ask("a", [5, 6, 7], max_tokens=4)])["a"]
        assert failed.error == ("engine_error", "the worker has no memory left for this")
        engine._runner.logits = logits  # type: ignore[method-assign]
        assert len(tokens(run(engine, [ask("b", [5, 6], max_tokens=4, ignore_eos=True)])["b"])) == 4


def test_a_lost_device_ends_the_worker_and_fails_nobody(model: Any) -> None:
    with running(model) as engine:

        def failing(*_: Any) -> torch.Tensor:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")

        engine._runner.logits = failing  # type: ignore[assignment, method-assign]  # breaks it
        engine.submit(ask("a", [5, 6, 7], max_tokens=4))
        engine._thread.join(20)
        assert engine.step_age() == math.inf and not engine.collect(0)


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


@pytest.mark.parametrize("kind", ["native", "generate"])
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
            request.on_token = lambda _n, token, _t, _p, id=request.id: streamed.setdefault(
                id, []
            ).append(token)
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


def test_errors_are_told_by_reference_and_written_to_the_log(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with running(model) as engine:
        fails_at_the_guilty_row(engine, [], lambda: RuntimeError(SECRET))
        error = run(engine, [guilty()])["guilty"].error
    assert error and (reference := error[1].split()[-1]) and len(reference) == 8
    assert (
        any(reference in record.getMessage() for record in caplog.records) and SECRET in caplog.text
    )


def test_the_ledger_survives_a_failure_that_was_told_already(model: Any) -> None:
    with running(model) as engine:
        requests: OpenRequests = engine._requests
        requests.fail("nobody", RuntimeError(SECRET))
        assert collect(engine, 0) == {}
