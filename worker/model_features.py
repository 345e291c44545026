"""Finds out what a model can do beyond generating text: the `features` of its card."""

from __future__ import annotations

import logging

from common.structured.guidance import Guide
from common.tokenizer import JsonTokenizer
from worker.thinking import marks

log = logging.getLogger(__name__)


def guide_of(name: str, tokenizer: JsonTokenizer, vocabulary: int) -> Guide | None:
    """What makes matchers of grammars in the model's tokens; `vocabulary` is the width of its
    logits. None if its tokenizer cannot be used for that."""
    try:
        return Guide(tokenizer.dumps(), vocabulary, tokenizer.eos_ids)
    except Exception as error:  # the library raises no narrower class
        log.warning("%s has no structured output: its tokenizer cannot be used: %s", name, error)
        return None


def features(
    engine: str, tokenizer: JsonTokenizer, template: str | None, guide: Guide | None
) -> tuple[str, ...]:
    """What the model can do on this engine."""
    has = {
        "structured_output": guide is not None,
        "continuations": engine == "native",
        "thinking": marks(tokenizer, template) is not None,
    }
    return tuple(name for name, there in has.items() if there)
