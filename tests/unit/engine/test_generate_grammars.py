"""The generate engine keeps rows to a grammar as continuous batching does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jsonschema_rs
import pytest

from tests.support.tokenizers import for_json
from tests.unit.engine.guided import (
    PERSON,
    SCHEMA,
    VOCABULARY,
    bound,
    guide_for,
    guided,
    json_model,
    thinks,
)
from tests.unit.engine.test_generate import build_seq2seq
from tests.unit.engine.tiny import run, tokens
from worker.engine.generate import GenerateEngine


@contextmanager
def generating(model: Any) -> Iterator[GenerateEngine]:
    tokenizer = for_json()
    engine = GenerateEngine(model, tokenizer, slots=8, context=300, guide=guide_for(tokenizer))
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@pytest.mark.parametrize("family", ["t5", "bart", "llama"])
def test_bound_and_free_rows_run_in_one_batch(family: str) -> None:
    model = (
        json_model()
        if family == "llama"
        else build_seq2seq(family, vocab_size=VOCABULARY, max_position_embeddings=400)
    )
    asked = [bound(str(n), SCHEMA if n % 2 else None, seed=n, max_tokens=120) for n in range(6)]
    with generating(model) as engine:
        found = run(engine, asked)
    for request in asked:
        output = found[request.id].outputs[0]
        assert found[request.id].error is None
        if request.grammar:
            assert output.finish_reason == "stop" and output.json_valid
            jsonschema_rs.validate(PERSON, json.loads(output.text))


def test_both_engines_write_the_same_under_a_grammar() -> None:
    settings: list[dict[str, Any]] = [{"temperature": 0.0}, {}, {"n": 2}, {"logprobs": 1}]
    asked = [
        bound(str(n), SCHEMA, seed=n, thinking=thinks(open=n == 1, max_tokens=3), **params)
        for n, params in enumerate(settings)
    ]
    with generating(json_model()) as engine:
        batched = run(engine, asked)
    with guided(json_model()) as packed:
        expected = run(packed, asked)
    for id, each in expected.items():
        assert [(o.token_ids, o.text, o.reasoning) for o in batched[id].outputs] == [
            (o.token_ids, o.text, o.reasoning) for o in each.outputs
        ]


def test_a_row_without_a_token_left_ends_alone() -> None:
    letters = [y for length in range(1, 5) for y in ("y" * length, " " + "y" * length)]
    with generating(json_model()) as engine:
        found = run(
            engine,
            [bound("a", {"choice": ["yyyy"]}, bad_words=letters), bound("b", None, max_tokens=5)],
        )
    assert found["a"].error and found["a"].error[0] == "no_token_left"
    assert found["a"].outputs[0].text == "" and len(tokens(found["b"])) == 5
