"""Rows of all kinds that keep each other company in a step, with logits to draw from."""

from __future__ import annotations

import random
from typing import Any

import torch

from common.generation import Request
from common.params import SamplingParams
from common.structured.guidance import Guide
from tests.support.tokenizers import for_json
from tests.unit.engine.guided import PERSON, grammar
from worker.engine.scheduling.mailbox import Mailbox
from worker.engine.scheduling.open_requests import OpenRequests
from worker.engine.scheduling.sequence import Sequence

POOL = 40  # rows


def settings_of(rng: random.Random, vocabulary: int) -> dict[str, Any]:
    """Random settings; each knob is turned in some rows."""

    def often(share: float, value: Any) -> Any:
        return value if rng.random() < share else None

    chosen = {
        "temperature": rng.choice([0.0, 0.6, 1.0, 1.7]),
        "top_k": often(0.3, rng.choice([1, 20, 50, 3000])),
        "top_p": often(0.4, rng.choice([0.1, 0.5, 0.9, 0.99])),
        "min_p": often(0.2, rng.choice([0.001, 0.1])),
        "typical_p": often(0.2, rng.choice([0.3, 0.9])),
        "repetition_penalty": often(0.3, rng.choice([0.8, 1.2])),
        "presence_penalty": often(0.2, 0.7),
        "frequency_penalty": often(0.2, -0.4),
        "no_repeat_ngram_size": often(0.2, 2),
        "min_tokens": often(0.2, 50),
        "logit_bias": often(0.3, {rng.randrange(vocabulary): 3.0 for _ in range(5)}),
        "logprobs": often(0.5, rng.choice([0, 3, 20])),
        "output": often(0.2, {"json_schema": PERSON}),
    }
    return {name: value for name, value in chosen.items() if value is not None}


def sequences_of(rng: random.Random, vocabulary: int) -> list[Sequence]:
    """Rows that have said something, each with its own settings."""
    tokenizer = for_json()
    books = OpenRequests(
        Mailbox(POOL),
        tokenizer,
        vocabulary=vocabulary,
        context=4096,
        on_end=lambda _: None,
        guide=Guide(tokenizer.dumps(), vocabulary, tokenizer.eos_ids),
    )
    found = []
    for number in range(POOL):
        settings = settings_of(rng, vocabulary)
        output = settings.pop("output", None)
        prompt = [rng.randrange(300) for _ in range(20)]
        request = Request(str(number), "", prompt, SamplingParams(**settings), number)
        request.grammar = grammar(**output) if output else None
        books.grammars.prepare(request)
        (sequence,) = books.open(request)
        for token in [] if output else [rng.randrange(260, 300) for _ in range(20)]:
            books.advance(sequence, token)
        found.append(sequence)
    return found


def logits_of(vocabulary: int) -> torch.Tensor:
    """Logits (POOL, vocabulary) float32, flat to peaked, every second row with many ties."""
    torch.manual_seed(vocabulary)
    logits = torch.randn(POOL, vocabulary) * torch.linspace(0.5, 5, POOL)[:, None]
    logits[::2] = (logits[::2] * 4).round() / 4
    return logits
