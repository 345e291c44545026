"""Greedy output with continuous batching is that of `generate()`, token for token, by family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from tests.unit.engine.tiny import FAMILIES, ask, build, prompts, run, running, tokens


def oracle(model: Any, ids: list[int], count: int) -> list[int]:
    config = GenerationConfig(
        max_new_tokens=count, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), generation_config=config
        )
    return out[0, len(ids) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_output_equals_generate(family: str) -> None:
    model = build(family)
    asked = prompts(6)
    expected = [oracle(model, ids, 16) for ids in asked]
    # Less than the prompts have: they come in chunks.
    with running(model, token_budget=24) as engine:
        found = run(
            engine,
            [ask(str(n), ids, temperature=0.0, max_tokens=16) for n, ids in enumerate(asked)],
        )
    assert [tokens(found[str(n)]) for n in range(len(asked))] == expected
    assert len({tuple(row) for row in expected}) > 1, (
        "the model says the same to everything: the test proves nothing"
    )
