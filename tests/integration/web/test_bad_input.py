"""Each bad request is a clear 4xx, and leaves nothing behind."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.web import Web

GOOD = {"prompts": ["one two three"]}


def refused(web: Web, body: Any, status: int = 422) -> dict:
    """The problem that a body meets; nothing of it is left in Redis."""
    options = (
        {"data": body, "content_type": "application/json"}
        if isinstance(body, bytes)
        else {"json": body}
    )
    answer = web.post("/v1/jobs", **options)
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert web.job_keys() == []
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    return answer.json


DEEP = b'{"prompts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def first(problem: dict) -> tuple[str, str | None]:
    return problem["errors"][0]["code"], problem["errors"][0].get("field")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "empty_job", "items"),
        ({"items": []}, "empty_job", "items"),
        ({"prompts": []}, "empty_job", "items"),
        ({"prompts": ["a"], "items": [{"prompt": "a"}]}, "empty_job", "items"),
        ({"prompts": "a"}, "wrong_type", "prompts"),
        ({"prompts": ["a", ""]}, "empty_prompt", "prompts.1"),
        ({"prompts": ["a", " \n"]}, "empty_prompt", "prompts.1"),
        ({"prompts": ["a", 3]}, "wrong_type", "prompts.1"),
        ({"items": [{"prompt": "a"}, "b"]}, "wrong_type", "items.1"),
        ({"items": [{"custom_id": "x"}]}, "missing_field", "items.0.prompt"),
        ({"items": [{"prompt": "a", "messages": []}]}, "missing_field", "items.0.prompt"),
        ({"items": [{"messages": []}]}, "empty_prompt", "items.0.messages"),
        (
            {"items": [{"messages": [{"role": "user", "content": "a"}]}]},
            "no_chat_template",
            "items.0.messages",
        ),
        (
            {"items": [{"prompt": "a", "custom_id": "x"}] * 2},
            "duplicate_custom_id",
            "items.1.custom_id",
        ),
        ({"items": [{"prompt": "a", "custom_id": ""}]}, "invalid_value", "items.0.custom_id"),
        ({"items": [{"prompt": "a", "metadata": {"k": [1]}}]}, "wrong_type", "items.0.metadata.k"),
        ({"items": [{"prompt": "a", "stream": 1}]}, "wrong_type", "items.0.stream"),
        (GOOD | {"params": {"temperature": -0.1}}, "out_of_range", "params.temperature"),
        (GOOD | {"params": {"temperature": "0.5"}}, "wrong_type", "params.temperature"),
        (GOOD | {"params": {"top_p": 0}}, "out_of_range", "params.top_p"),
        (GOOD | {"params": {"top_p": 1.01}}, "out_of_range", "params.top_p"),
        (GOOD | {"params": {"max_tokens": 0}}, "out_of_range", "params.max_tokens"),
        (GOOD | {"params": {"max_tokens": 1.5}}, "wrong_type", "params.max_tokens"),
        (GOOD | {"params": {"max_tokens": True}}, "wrong_type", "params.max_tokens"),
        (GOOD | {"params": {"seed": 2**63}}, "out_of_range", "params.seed"),
        (GOOD | {"params": {"stop": [""]}}, "invalid_value", "params.stop.0"),
        (GOOD | {"params": []}, "wrong_type", "params"),
        (GOOD | {"params": {"n": 9}}, "out_of_range", "params.n"),  # the model has eight slots
        (GOOD | {"params": {"max_tokens": 98}}, "context_length_exceeded", "prompts.0"),
        ({"prompts": ["word " * 100]}, "context_length_exceeded", "prompts.0"),
        (GOOD | {"priority": 11}, "out_of_range", "priority"),
        (GOOD | {"deadline": "tomorrow"}, "invalid_value", "deadline"),
        (GOOD | {"deadline": "2099-01-01T00:00:00"}, "invalid_value", "deadline"),
        (GOOD | {"deadline": "2001-01-01T00:00:00Z"}, "out_of_range", "deadline"),
        (GOOD | {"deadline": -5}, "invalid_value", "deadline"),
        (GOOD | {"deadline": "9999-12-31T23:59:59-12:00"}, "invalid_value", "deadline"),
        (GOOD | {"deadline": "9999-12-31T23:59:59.999999Z"}, "invalid_value", "deadline"),
        (GOOD | {"deadline": "0001-01-01T00:00:00+14:00"}, "out_of_range", "deadline"),
        (GOOD | {"webhook": {"url": "ftp://example.com"}}, "invalid_value", "webhook.url"),
        (GOOD | {"webhook": {"url": "https://"}}, "invalid_value", "webhook.url"),
        (GOOD | {"webhook": {"url": "http://[::1"}}, "invalid_value", "webhook.url"),
        (
            GOOD | {"webhook": {"url": "https://x.example", "events": ["job.done"]}},
            "invalid_value",
            "webhook.events.0",
        ),
        (
            GOOD | {"webhook": {"url": "https://x.example", "secret": "hush"}},
            "invalid_value",
            "webhook.secret",
        ),
        (GOOD | {"webhook": {}}, "missing_field", "webhook.url"),
        (GOOD | {"metadata": {str(i): 1 for i in range(17)}}, "invalid_value", "metadata"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(web: Web, body: dict, code: str, field: str) -> None:
    assert first(refused(web, body)) == (code, field)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (GOOD | {"params": {"max_new_tokens": 5}}, "max_new_tokens is called max_tokens here"),
        (GOOD | {"params": {"num_return_sequences": 5}}, "num_return_sequences is called n here"),
        (
            GOOD | {"params": {"do_sample": True}},
            "do_sample is called temperature (0 is greedy) here",
        ),
        (GOOD | {"params": {"max_length": 5}}, "max_length is called max_tokens here"),
        (GOOD | {"params": {"temprature": 1}}, "did you mean temperature?"),
        (GOOD | {"max_new_tokens": 5}, "max_new_tokens is called max_tokens here, inside params"),
        (GOOD | {"temperature": 1}, "temperature belongs inside params"),
        (GOOD | {"modle": "echo"}, "did you mean model?"),
        (GOOD | {"webhook": {"url": "https://x.example", "event": []}}, "did you mean events?"),
        ({"items": [{"promt": "a"}]}, "did you mean prompt?"),
    ],
)
def test_a_misspelt_field_is_refused_with_the_right_name(web: Web, body: dict, says: str) -> None:
    problem = refused(web, body)
    assert any(
        says in entry["message"] and entry["code"] == "unknown_field" for entry in problem["errors"]
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b'{"prompts": ["a"],}', "column 19"),
        (b'{"prompts": ["a"], "params": {"temperature": NaN}}', "NaN"),
        (b'{"prompts": ["a"], "params": {"temperature": -Infinity}}', "-Infinity"),
        (b'{"prompts": ["a"], "params": {"temperature": 1e999}}', "too large"),
        (b'{"prompts": ["a"], "params": {"seed": ' + b"9" * 5000 + b"}}", "too many digits"),
        (b'{"prompts": ["a"], "prompts": ["b"]}', "'prompts' appears more than once"),
        (b'{"prompts": ["\xff"]}', "UTF-8"),
        (b'{"prompts": ["\\ud800"]}', "surrogate"),
        (DEEP, "nested too deeply"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_json_is_a_400(web: Web, body: bytes, says: str) -> None:
    problem = refused(web, body, 400)
    assert problem["code"] == "malformed_json"
    assert says in problem["detail"]


def test_a_number_beyond_any_float_is_out_of_range(web: Web) -> None:
    body = b'{"prompts": ["a"], "params": {"temperature": 1' + b"0" * 400 + b"}}"
    refused(web, body)


def test_the_body_must_be_an_object(web: Web) -> None:
    assert refused(web, [1])["code"] == "wrong_type"


def test_n_times_tokens_has_a_cap(make_web: Callable[..., Web]) -> None:
    web = make_web(max_item_tokens=100)
    body = {"prompts": ["a b"], "params": {"n": 2, "max_tokens": 50}}
    problem = refused(web, body)
    assert problem["errors"][0]["code"] == "too_many_tokens"
    assert "104" in problem["detail"]


def test_a_json_body_over_the_limit_is_a_413_with_and_without_its_length(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.wire.bodies.MOST_JSON", 1000)
    body = b'{"prompts": ["' + b"a " * 600 + b'"]}'
    problem = refused(web, body, 413)
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    answer = web.post(
        "/v1/jobs",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides=chunked,
    )
    assert (problem["code"], answer.status_code, answer.json["code"]) == (
        "too_large",
        413,
        "too_large",
    )
    assert web.job_keys() == []


def test_more_items_than_a_job_may_have_are_a_413(make_web: Callable[..., Web]) -> None:
    problem = refused(make_web(max_items=3), {"prompts": ["a"] * 4}, 413)
    assert problem["code"] == "too_large"


def test_a_fault_after_thousands_of_good_items_leaves_nothing(web: Web) -> None:
    refused(web, {"prompts": ["a"] * 5000 + [""]})


def test_at_most_a_hundred_faults_are_listed(web: Web) -> None:
    problem = refused(web, {"prompts": [""] * 500})
    assert len(problem["errors"]) == 100
    assert [entry["field"] for entry in problem["errors"][:2]] == ["prompts.0", "prompts.1"]


def test_what_is_wrong_with_all_prompts_alike_is_told_once_and_named_as_the_jobs(web: Web) -> None:
    given = {"min_tokens": 9, "max_tokens": 8}
    problem = refused(web, {"prompts": ["a", "", *["b"] * 200], "params": given})
    found = [(entry["code"], entry["field"]) for entry in problem["errors"]]
    assert found == [("out_of_range", "params.min_tokens"), ("empty_prompt", "prompts.1")]


def test_what_depends_on_the_length_of_a_prompt_names_the_prompt(web: Web) -> None:
    problem = refused(web, {"prompts": ["a", "w " * 95], "params": {"min_tokens": 9}})
    found = [(entry["code"], entry["field"]) for entry in problem["errors"]]
    assert found == [("out_of_range", "prompts.1")]


def test_problems_never_echo_the_input(web: Web) -> None:
    secret = "s3cret" * 100
    body = {
        "items": [{"prompt": secret, "params": {"temperature": secret}, secret: 1}],
        "metadata": {secret: []},
    }
    assert len(json.dumps(refused(web, body))) < 1500
