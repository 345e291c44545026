"""Prompts whose lengths are at a border of token budget, chunk, block or context: alone and with
others, gathered and on pages."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.unit.engine.test_flash import on_pages  # noqa: F401  # a fixture
from tests.unit.engine.test_parity import oracle
from tests.unit.engine.tiny import FAMILIES, ask, build, prompts, run, running, tokens

BUDGET, BLOCK, CONTEXT = 24, 8, 128
NEW = 2
AT_BORDERS = sorted(
    {1, 2, CONTEXT - NEW}
    | {n * BUDGET + more for n in (1, 2, 3) for more in (-1, 0, 1)}
    | {n * BLOCK + more for n in (1, 2, 5) for more in (-1, 0, 1)}
)
SETTINGS: dict[str, Any] = {"token_budget": BUDGET, "block_size": BLOCK, "context": CONTEXT}


@pytest.fixture
def model() -> Any:
    return build("llama")


def prompt(length: int) -> list[int]:
    return prompts(1, shortest=length, longest=length, seed=length)[0]


@pytest.fixture(params=["gathered", "pages"])
def layout(request: pytest.FixtureRequest) -> str:
    if request.param == "pages":
        request.getfixturevalue("on_pages")
    return str(request.param)


def test_a_prompt_at_every_border_runs_alone_and_in_company(model: Any, layout: str) -> None:
    expected = {length: oracle(model, prompt(length), NEW) for length in AT_BORDERS}
    with running(model, **SETTINGS) as engine:
        for length in AT_BORDERS:
            found = run(engine, [ask("alone", prompt(length), temperature=0.0, max_tokens=NEW)])[
                "alone"
            ]
            assert tokens(found) == expected[length], length
        everybody = [
            ask(str(length), prompt(length), temperature=0.0, max_tokens=NEW)
            for length in AT_BORDERS
        ]
        together = run(engine, everybody)
    assert {length: tokens(together[str(length)]) for length in AT_BORDERS} == expected


def test_steps_that_want_only_the_prompts_log_probabilities_run(model: Any, layout: str) -> None:
    with running(model, **SETTINGS) as engine:
        for length in AT_BORDERS:
            asked = ask("a", prompt(length), temperature=0.0, max_tokens=NEW, prompt_logprobs=0)
            found = run(engine, [asked, ask("b", prompt(7), max_tokens=NEW)])["a"]
            told = found.prompt_logprobs or []
            assert [each.token.token_id for each in told] == prompt(length), length
            assert [each.logprob is None for each in told] == [True] + [False] * (length - 1), (
                length
            )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lone_prompt_longer_than_a_step_runs_in_every_family(family: str) -> None:
    model = build(family)
    expected = oracle(model, prompt(2 * BUDGET + 1), 4)
    with running(model, **SETTINGS) as engine:
        found = run(engine, [ask("a", prompt(2 * BUDGET + 1), temperature=0.0, max_tokens=4)])["a"]
    assert tokens(found) == expected


def test_a_step_that_samples_nothing_runs_in_bfloat16() -> None:
    short = build("llama").to(torch.bfloat16)
    with running(short, **SETTINGS) as engine:
        found = run(engine, [ask("a", prompt(3 * BUDGET + 1), temperature=0.0, max_tokens=4)])["a"]
    assert len(tokens(found)) == 4
