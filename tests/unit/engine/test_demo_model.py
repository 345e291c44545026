"""A real model in float32: the engine says what `generate()` says, on prompts of mixed length. Skipped without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tests.unit.engine.tiny import ask, assert_same, run, running, tokens

FOLDER = Path("~/.cache/promptmill/models/smollm2-135m").expanduser()
NEW_TOKENS = 6
TOPICS = ["the sea", "a railway timetable", "two brothers", "prime numbers", "bread", "the year 1848", "rain", "Python"]
OPENINGS = [
    "Write a short note about {0}.",
    "Once upon a time there was {0} and",
    "Question: what do most people get wrong about {0}? Answer:",
    "{0}: 1, 2, 3, 4,",
    "Dear Sir or Madam, I am writing to you because of {0}. " * 6,
    "In this report we look at {0} from several sides. " * 12 + "First,",
]


@pytest.mark.timeout(400)
@pytest.mark.skipif(not (FOLDER / "config.json").exists(), reason="needs `promptmill model fetch-demo`")
def test_fifty_prompts_equal_generate_token_for_token() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model: Any = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0, eos_token_id=None)
    texts = [opening.format(topic) for opening in OPENINGS for topic in TOPICS]
    prompts = [tokenizer(text)["input_ids"] for text in [*texts, "A", "The capital of France is"]]
    assert len(prompts) == 50
    expected = []
    with torch.inference_mode():
        for ids in prompts:
            whole = torch.tensor([ids])
            out = model.generate(whole, attention_mask=torch.ones_like(whole), max_new_tokens=NEW_TOKENS)
            expected.append(out[0, len(ids) :].tolist())
    requests = [ask(str(n), ids, temperature=0.0, max_tokens=NEW_TOKENS) for n, ids in enumerate(prompts)]
    with running(model, slots=24, context=512, kv_tokens=8192, block_size=32) as engine:
        found = run(engine, requests)
    for request, wanted in zip(requests, expected, strict=True):
        assert_same(model, request, tokens(found[request.id]), wanted)
