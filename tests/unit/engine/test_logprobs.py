"""The log-probabilities of generated tokens and of prompts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.unit.engine.tiny import (
    ask,
    build,
    run,
    running,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama")


def test_a_prompt_of_one_token_has_one_log_probability_which_is_none(model: Any) -> None:
    with running(model) as engine:
        asked = {"a": [30], "b": [30, 31]}
        found = run(
            engine, [ask(name, ids, max_tokens=2, prompt_logprobs=1) for name, ids in asked.items()]
        )
    assert [each.logprob for each in found["a"].prompt_logprobs or []] == [None]
    assert [each.logprob is None for each in found["b"].prompt_logprobs or []] == [True, False]


def test_logprobs_are_the_models_own(model: Any) -> None:
    with running(model) as engine:
        found = run(
            engine,
            [
                ask(
                    "a",
                    [30, 31, 32],
                    seed=5,
                    max_tokens=6,
                    temperature=2.0,
                    top_k=20,
                    logprobs=3,
                    prompt_logprobs=2,
                ),
                ask("b", [30, 31], max_tokens=6),
            ],
        )
    output = found["a"].outputs[0]
    assert found["b"].outputs[0].logprobs is None and found["b"].prompt_logprobs is None
    whole = [30, 31, 32, *output.token_ids]
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        log_p = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    told = [*(found["a"].prompt_logprobs or []), *(output.logprobs or [])]
    assert len(told) == len(whole) and told[0].logprob is None
    for at, entry in enumerate(told[1:]):
        assert entry.token.token_id == whole[at + 1]
        assert entry.logprob == pytest.approx(log_p[at, whole[at + 1]].item(), abs=1e-4)
        best = log_p[at].topk(len(entry.top))
        assert [spelling.token_id for _, spelling in entry.top] == best.indices.tolist()
