"""The demo model in float32 on fifty prompts of mixed lengths: its output is that of `generate()`,
alone and in batches.

Greedy rows are equal to the token on these prompts. Drawn rows may differ at near-ties
(`assert_same`), which some CPUs show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from common.generation import Request
from tests.unit.engine.tiny import ask, assert_same, run, running, tokens

NEW_TOKENS = 5
TOPICS = [
    "the sea",
    "a railway timetable",
    "two brothers",
    "prime numbers",
    "bread",
    "the year 1848",
    "rain",
    "Python",
]
OPENINGS = [
    "Write a short note about {0}.",
    "Once upon a time there was {0} and",
    "Question: what do most people get wrong about {0}? Answer:",
    "{0}: 1, 2, 3, 4,",
    "Dear Sir or Madam, I am writing to you because of {0}. " * 3,
    "In this report we look at {0} from several sides. " * 6 + "First,",
]
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.8},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 1.2, "top_k": 40, "repetition_penalty": 1.1},
    {"temperature": 0.0, "presence_penalty": 0.5},
]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def model(demo_model: Path) -> Any:
    loaded: Any = AutoModelForCausalLM.from_pretrained(demo_model, dtype=torch.float32).eval()
    loaded.generation_config = GenerationConfig(do_sample=False, pad_token_id=0, eos_token_id=None)
    return loaded


@pytest.fixture(scope="module")
def prompts(demo_model: Path) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    texts = [opening.format(topic) for opening in OPENINGS for topic in TOPICS]
    found = [tokenizer(text)["input_ids"] for text in [*texts, "A", "The capital of France is"]]
    assert len(found) == 50
    return found


def outputs(model: Any, requests: list[Request], slots: int) -> dict[str, list[int]]:
    with running(model, slots=slots, context=512, kv_tokens=8192, block_size=32) as engine:
        return {id: tokens(each) for id, each in run(engine, requests).items()}


# First, while the model's layers are as transformers made them: the engine packs them.
def test_fifty_prompts_equal_generate_token_for_token(model: Any, prompts: list[list[int]]) -> None:
    expected = {}
    with torch.inference_mode():
        for n, ids in enumerate(prompts):
            whole = torch.tensor([ids])
            out = model.generate(
                whole, attention_mask=torch.ones_like(whole), max_new_tokens=NEW_TOKENS
            )
            expected[str(n)] = out[0, len(ids) :].tolist()
    requests = [
        ask(str(n), ids, temperature=0.0, max_tokens=NEW_TOKENS) for n, ids in enumerate(prompts)
    ]
    assert outputs(model, requests, slots=24) == expected


def test_fifty_seeded_prompts_are_the_same_in_any_batch_and_after_a_resume(
    model: Any, prompts: list[list[int]]
) -> None:
    requests = [
        ask(str(n), ids, seed=n, max_tokens=NEW_TOKENS, **SETTINGS[n % len(SETTINGS)])
        for n, ids in enumerate(prompts)
    ]
    expected = outputs(model, requests, slots=50)
    resumed = [
        Request(
            each.id,
            "",
            each.prompt_ids,
            each.params,
            each.seed,
            [expected[each.id][: n % NEW_TOKENS]],
        )
        for n, each in enumerate(requests)
    ]
    found = outputs(model, resumed[::-1], slots=20)
    for request in requests:
        assert_same(model, request, found[request.id], expected[request.id])
    alone = outputs(model, requests[::10], slots=1)
    for request in requests[::10]:
        assert_same(model, request, alone[request.id], expected[request.id])
