"""The law of structured output: whatever a model writes under a schema is valid, or was cut off.

A model of random weights walks odd corners: escapes, surrogates, parts of characters, bounds of
numbers, orders of properties that nobody likes.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from common.generation import Finished, Request
from common.tokenizer import JsonTokenizer
from tests.support.schemas import SCHEMAS
from tests.support.tokenizers import byte_fallback, for_json
from tests.unit.engine.guided import bound, guided, json_model
from tests.unit.engine.tiny import run

ROWS = 1000
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.0},
    {"temperature": 2.5, "top_p": 0.95},
    {"temperature": 1.0, "top_k": 30, "repetition_penalty": 1.2},
    {"temperature": 1.0, "logprobs": 1},
]


def asked(rows: int) -> list[Request]:
    """Rows of the schemas in turn, each sixth of them without one."""
    found = []
    for n in range(rows):
        output = None if n % 6 == 5 else {"json_schema": SCHEMAS[n % len(SCHEMAS)]}
        params = SETTINGS[n % len(SETTINGS)] | {"max_tokens": 1000 if output else 40}
        found.append(bound(str(n), output, seed=n, prompt=[30 + n % 50, 31 + n % 7], **params))
    return found


def faults(request: Request, found: Finished) -> list[str]:
    """What is wrong with a bound row."""
    if found.error:
        return [f"{request.id}: {found.error}"]
    output = found.outputs[0]
    if output.finish_reason == "length":
        return [f"{request.id}: valid, but cut off"] if output.json_valid else []
    schema = SCHEMAS[int(request.id) % len(SCHEMAS)]
    try:
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(
            json.loads(output.text)
        )
    except (ValueError, jsonschema_rs.ValidationError) as error:
        return [f"{request.id}: {schema} {output.text!r}: {error}"]
    return [] if output.json_valid else [f"{request.id}: valid, and not said to be"]


@pytest.mark.timeout(400)  # seconds: a thousand texts, beside whatever else runs
@pytest.mark.parametrize(
    ("tokenizer", "rows"), [(for_json(), ROWS), (byte_fallback(), 200)], ids=["bytes", "fallback"]
)
def test_a_thousand_rows_of_a_hundred_schemas_are_valid_or_cut_off(
    tokenizer: JsonTokenizer, rows: int
) -> None:
    requests = asked(rows)
    sizes = {"slots": 64, "context": 1024, "kv_tokens": 64 * 1024}
    with guided(json_model(), tokenizer, **sizes) as engine:
        found = run(engine, requests)
    tied = [request for request in requests if request.grammar]
    assert [fault for each in tied for fault in faults(each, found[each.id])] == []
    ended = [each for each in tied if found[each.id].outputs[0].finish_reason == "stop"]
    assert len(ended) >= 0.95 * len(tied)
    free = [found[each.id] for each in requests if not each.grammar]
    assert all(each.error is None for each in free)
