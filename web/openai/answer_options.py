"""What rendering an answer needs to know of its request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from common.types import JsonObject

Endpoint = Literal["/v1/chat/completions", "/v1/completions"]

CHAT: Endpoint = "/v1/chat/completions"
COMPLETIONS: Endpoint = "/v1/completions"


@dataclass(frozen=True)
class AnswerOptions:
    """Plain values, so that a batch's lines can keep them with their items (under `ask`)."""

    endpoint: Endpoint
    model: str
    n: int = 1
    echo: bool = False
    # max_tokens was 0: the engine generates at least one token, which is not shown.
    scored: bool = False
    include_usage: bool = False  # in a last chunk of the stream
    continuous_usage: bool = False  # in every chunk
    metadata: dict[str, JsonValue] | None = None
    tools: JsonObject | None = None  # as the item keeps them: what the answer may call
    reasoning: bool = True  # thoughts are part of the answer
    ignored: tuple[str, ...] = ()  # fields that had no effect
    # Parameters that took effect with another value than was sent.
    adapted: dict[str, JsonValue] = field(default_factory=dict)
