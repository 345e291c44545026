"""A step that fails is computed again in halves: only the row at fault fails, and the rows beside
it get what they get without it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.unit.engine.faulty import (
    GUILTY,
    SECRET,
    assert_only_the_guilty_fails,
    fails_at_the_guilty_row,
    guilty,
    healthy,
    undisturbed,
)
from tests.unit.engine.tiny import ask, build, collect, prompts, run, running, tokens
from worker.engine import batching
from worker.engine.scheduling.open_requests import OpenRequests


@pytest.fixture
def model() -> Any:
    return build("llama")


@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_step_that_fails_is_halved_until_the_row_at_fault_is_found(
    model: Any, place: int
) -> None:
    requests = healthy()
    expected = undisturbed(model, requests)
    streamed: dict[str, list[int]] = {}
    for request in requests:
        request.on_token = lambda new, id=request.id: streamed.setdefault(id, []).append(new.token)
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
