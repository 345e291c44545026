"""Output formats at and past their bounds, and ones that were made to cost much."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from common.structured.output_format import MOST_BYTES, MOST_DEPTH, MOST_LABELS
from tests.support.cards import card
from tests.support.web import Web


@pytest.fixture(autouse=True)
def able(web: Web) -> None:
    features = ["structured_output"]
    web.services.fleet.publish(card("able", engine="native", features=features), b"")


def ask(web: Web, output: Any, raw: str | None = None, **params: Any) -> Any:
    params = {"output": output, **params}
    body = raw or json.dumps({"model": "able", "prompts": ["a"], "params": params})
    return web.post("/v1/jobs", data=body.encode(), content_type="application/json")


def nested(depth: int) -> Any:
    found: Any = {"type": "string"}
    for _ in range((depth - 1) // 2):
        found = {"items": found}
    return found


def sized(size: int) -> Any:
    """A format of so many bytes as JSON, all of them in a description."""
    empty: dict[str, Any] = {"type": "string", "description": ""}
    spent = len(json.dumps(empty, separators=(",", ":")))
    return {"json_schema": {**empty, "description": "d" * (size - spent)}}


REFUSED = {
    "one byte too many": sized(MOST_BYTES + 1),
    "a label too many": {"choice": [str(at) for at in range(MOST_LABELS + 1)]},
    "an enum value too many": {"json_schema": {"enum": list(range(5001))}},
    "too deep": {"json_schema": {"a": nested(2 * MOST_DEPTH + 3)}},
    "itself": {"json_schema": {"$ref": "#"}},
    "a long text": {"json_schema": {"type": "string", "minLength": 1_000_000}},
    "nested repetitions": {"regex": "(a{500,500}){500,500}"},
    "x-guidance": {"json_schema": {"type": "string", "x-guidance": {"lenient": True}}},
    "x-guidance inside": {"json_schema": {"items": {"items": {"x-guidance": {}}}}},
    "a reference elsewhere": {"json_schema": {"$ref": "https://example.com/schema"}},
    "look-ahead": {"regex": "(?=a)b"},
    "another grammar": {"grammar": "start: @other"},
    "an option": {"grammar": '%llguidance {}\nstart: "a"'},
    "JSON inside": {"grammar": "start: %json {}"},
    "a special token": {"grammar": "start: <|end|>"},
    "a bound of its own": {"grammar": "start[max_tokens=5]: /.*/"},
    "not a schema": {"json_schema": []},
    "two formats": {"json": True, "text": True},
    "no format": {},
    "false": {"json": False},
    "no labels": {"choice": []},
    "an empty label": {"choice": [""]},
    "a label twice": {"choice": ["a", "a"]},
    "an expression that is none": {"regex": "("},
    "a grammar that is none": {"grammar": "start"},
    "text": "json",
}


@pytest.mark.parametrize("output", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_at_its_field_within_a_second(web: Web, output: Any) -> None:
    began = time.monotonic()
    answer = ask(web, output, max_tokens=64)
    took = time.monotonic() - began
    assert answer.status_code == 422, answer.text
    for error in answer.json["errors"]:
        # `params.max_tokens` where it is too little for the shortest text.
        assert error["field"].startswith(("params.output", "params.max_tokens"))
        assert len(error["message"]) < 1000
    assert took < 5  # on a machine that does other things


ACCEPTED = {
    "as large as may be": sized(MOST_BYTES),
    "as many labels as may be": {"choice": [str(at) for at in range(MOST_LABELS)]},
    "as many enum values as may be": {"json_schema": {"enum": list(range(5000))}},
    "may be long": {"json_schema": {"type": "string", "maxLength": 1_000_000}},
    "may be repeated": {"regex": "(a{1,500}){1,500}"},
    "a NUL": {"choice": ["\x00", "a"]},
    "marks of templates and spreadsheets": {"choice": ["=1+1", "{{", "東京", "\N{GRINNING FACE}"]},
    "a name that is empty": {
        "json_schema": {"type": "object", "properties": {"": {}}, "required": [""]}
    },
}


@pytest.mark.parametrize("output", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_within_the_bounds_is_taken_or_refused_for_a_reason(web: Web, output: Any) -> None:
    answer = ask(web, output, max_tokens=64)
    if answer.status_code == 202:
        assert answer.json["params"]["output"] == output
    else:
        assert [error["code"] for error in answer.json["errors"]] == ["invalid_grammar"]


def test_half_of_a_surrogate_pair_is_no_json(web: Web) -> None:
    raw = r'{"model": "able", "prompts": ["a"], "params": {"output": {"choice": ["\ud800"]}}}'
    answer = ask(web, None, raw)
    assert answer.status_code == 400
    assert answer.json["code"] == "malformed_json"


def test_fewer_tokens_than_the_shortest_text_has_are_refused(web: Web) -> None:
    output = {"json_schema": {"type": "string", "minLength": 64 * 60}}
    answer = ask(web, output, max_tokens=50)
    assert [error["code"] for error in answer.json["errors"]] == ["out_of_range"]
    assert "at least 61 tokens" in answer.json["detail"]
    assert ask(web, output, max_tokens=61).status_code == 202
    # What the prompt leaves is fewer, too.
    job = {"model": "able", "prompts": ["w " * 50], "params": {"output": output}}
    answer = web.post("/v1/jobs", json=job)
    assert [error["code"] for error in answer.json["errors"]] == ["out_of_range"]
    assert "which was not given" in answer.json["detail"]


def test_a_schema_for_each_of_100_000_rows_is_refused_before_most_are_read(web: Web) -> None:
    def line(at: int) -> str:
        output = {"json_schema": {"type": "object", "properties": {f"field {at}": {}}}}
        return json.dumps({"prompt": "a", "params": {"output": output}})

    content = "\n".join(map(line, range(100_000))).encode()
    began = time.monotonic()
    answer = web.upload("rows.jsonl", content, model="able")
    assert answer.status_code == 422, answer.text
    assert answer.json["code"] == "too_many_formats"
    assert time.monotonic() - began < 30
    assert not [key for key in web.job_keys() if b":stage:" in key]
