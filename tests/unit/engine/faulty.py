"""A request that makes its step fail, the requests beside it, and what they must come back with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.unit.engine.tiny import ask, prompts, run, running, tokens
from worker.engine.batching import BatchingEngine

GUILTY = 77  # a token that only the guilty prompt has

SECRET = "somebody's text"


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
