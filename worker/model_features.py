"""Finds out what a model can do on its engine: the `features` and `params` of its card."""

from __future__ import annotations

import logging

from common.params import CELLS
from common.structured.guidance import Guide
from common.tokenizer import JsonTokenizer
from worker.engine.protocol import Engine
from worker.thinking import marks

log = logging.getLogger(__name__)

# What each engine can do with every model.
OF_ENGINE = {
    "native": ("continuations", "seeded_resume"),
    "generate": ("seeded_resume",),
    "echo": ("seeded_resume",),
    "vllm": ("adapters",),
}


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
        "thinking": marks(tokenizer, template) is not None,
    }
    return *(name for name, there in has.items() if there), *OF_ENGINE[engine]


def params(engine: Engine) -> tuple[str, ...]:
    """The decoding parameters that the engine honours, in the order of `SamplingParams`."""
    return tuple(name for name in CELLS if name in engine.honours)
