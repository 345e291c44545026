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
    tokenizer: JsonTokenizer, template: str | None, guide: Guide | None
) -> tuple[str, ...]:
    found = ("structured_output",) if guide else ()
    return (*found, "thinking") if marks(tokenizer, template) else found
