"""What holds for rows whose text is bound to a grammar, on a tiny random model in float32."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from tests.unit.engine.guided import PERSON, bound, guided, json_model
from tests.unit.engine.tiny import run


@pytest.fixture(scope="module")
def model() -> Any:
    return json_model()


SCHEMA = {"json_schema": PERSON}


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 5.0},
        {"top_p": 0.8, "logprobs": 2},
        {"repetition_penalty": 1.2},
    ],
)
def test_rows_of_a_schema_are_valid_and_end_by_themselves(
    model: Any, params: dict[str, Any]
) -> None:
    with guided(model) as engine:
        found = run(engine, [bound(str(n), SCHEMA, seed=n, **params) for n in range(8)])
    for each in found.values():
        output = each.outputs[0]
        assert each.error is None and output.finish_reason == "stop" and output.json_valid
        jsonschema_rs.validate(PERSON, json.loads(output.text))
