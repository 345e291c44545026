"""Finds out whether a model thinks before it answers, and where a prompt leaves it.

Such models write their thoughts between `<think>` and `</think>`; both are single tokens. Knows no
engine.
"""

from __future__ import annotations

from common.errors import InvalidRequest
from common.generation import ThinkingSpan
from common.params import SamplingParams
from common.tokenizer import Tokenizer

BEGIN, END = "<think>", "</think>"


def marks(tokenizer: Tokenizer, template: str | None) -> tuple[int, int] | None:
    """The ids of the tokens that begin and end a model's thoughts. None if it does not think: they
    are no tokens of their own, or its chat template knows neither."""
    begin, end = tokenizer.added_id(BEGIN), tokenizer.added_id(END)
    knows = template is not None and (BEGIN in template or END in template)
    return None if begin is None or end is None or not knows else (begin, end)


def span(
    found: tuple[int, int] | None, prompt: str, params: SamplingParams, *, is_chat: bool
) -> ThinkingSpan | None:
    """How a model with these marks thinks after a prompt; None if it answers at once, or if nobody
    asked to tell its thoughts from its text.

    Raises:
        InvalidRequest: `params.thinking` was given, and the model does not think.
    """
    if found is None and params.thinking:
        raise InvalidRequest(
            "this model does not think before it answers; leave out `params.thinking`",
            code="unsupported",
            field="params.thinking",
        )
    end = prompt.rstrip()
    if found is None or not (is_chat or params.thinking) or end.endswith(END):
        return None
    most = params.thinking.max_tokens if params.thinking else None
    return ThinkingSpan(*found, open=end.endswith(BEGIN), max_tokens=most)
