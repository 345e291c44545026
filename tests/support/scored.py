"""Jobs whose items have texts scored, and what a worker hands in of them."""

from __future__ import annotations

from typing import Any

from tests.support.web import Web

FEATURES = ("structured_output", "continuations")
ITEM = {"prompt": "one two three", "continuations": ["yes", "no way", "maybe not today"]}
CHOICE = {"output": {"choice": ["yes", "no way"], "probabilities": True}}


def submit(web: Web, *items: dict[str, Any], **fields: Any) -> str:
    answer = web.post("/v1/jobs", json={"items": list(items), **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def score(logprob: float, probability: float) -> dict[str, Any]:
    return {
        "logprob": logprob,
        "token_count": 1,
        "probability": probability,
        "probability_per_token": probability,
    }


SCORES = [score(-1.0, 0.5), score(-2.0, 0.3), score(-3.0, 0.2)]
CHOSEN = {
    "text": "yes",
    "finish_reason": "stop",
    "token_count": 2,
    "logprobs": None,
    "choices": [
        {"text": "yes", "logprob": -0.1, "probability": 0.9},
        {"text": "no way", "logprob": -2.3, "probability": 0.1},
    ],
}
