"""A model whose engine lacks some decoding parameters, as its card says."""

from __future__ import annotations

from typing import Any

from common.params import CELLS
from common.types import ModelCard
from tests.support.cards import card

# Each with a value that asks for something.
LACKED: dict[str, Any] = {"typical_p": 0.9, "no_repeat_ngram_size": 3, "prompt_logprobs": 0}
NEUTRAL: dict[str, Any] = {"typical_p": 1, "no_repeat_ngram_size": 0, "prompt_logprobs": None}
TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


def lacking(name: str = "small", **fields: Any) -> ModelCard:
    honoured = tuple(each for each in CELLS if each not in LACKED)
    about = {"engine": "vllm", "params": honoured, "chat_template": TEMPLATE}
    return card(name, **about | fields)
