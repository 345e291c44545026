"""Tiny random models with a tokenizer for JSON, and requests that are bound to a grammar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common.generation import Request, ThinkingSpan
from common.params import SamplingParams
from common.structured.grammar import Grammar, grammar_of
from common.structured.guidance import Guide
from common.structured.output_format import OutputFormat
from common.tokenizer import JsonTokenizer
from tests.support.tokenizers import THINK, THOUGHT, for_json
from tests.unit.engine.tiny import build, running
from worker.engine.batching import BatchingEngine

VOCABULARY = 400
PROMPT = [30, 31, 32]
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {"json_schema": PERSON}


def json_model(**changes: Any) -> Any:
    return build("llama", vocab_size=VOCABULARY, max_position_embeddings=1024, **changes)


def guide_for(tokenizer: JsonTokenizer) -> Guide:
    return Guide(tokenizer.dumps(), VOCABULARY, tokenizer.eos_ids)


def grammar(**output: Any) -> Grammar:
    found = grammar_of(OutputFormat.model_validate(output))
    assert found
    return found


def bound(
    id: str,
    output: dict[str, Any] | None,
    *,
    seed: int = 0,
    prompt: list[int] | None = None,
    thinking: ThinkingSpan | None = None,
    **params: Any,
) -> Request:
    """A request whose text is bound to `output`; None: it is free."""
    request = Request(
        id, "", prompt or PROMPT, SamplingParams(**{"max_tokens": 200, **params}), seed
    )
    request.grammar = grammar(**output) if output else None
    request.thinking = thinking
    return request


def thinks(*, open: bool = False, max_tokens: int | None = None) -> ThinkingSpan:
    begin, end = for_json().added_id(THINK), for_json().added_id(THOUGHT)
    assert begin and end
    return ThinkingSpan(begin, end, open, max_tokens)


@contextmanager
def guided(
    model: Any, tokenizer: JsonTokenizer | None = None, **settings: Any
) -> Iterator[BatchingEngine]:
    tokenizer = tokenizer or for_json()
    usual = {"context": 512, "kv_tokens": 8192, "slots": 32, "guide": guide_for(tokenizer)}
    with running(model, detokenizer=tokenizer, **{**usual, **settings}) as engine:
        yield engine
