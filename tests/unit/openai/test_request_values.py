"""What the values of a request mean: prompts, messages, limits, and what must hold together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from common.errors import InvalidRequest
from tests.unit.openai.fields import (
    BARE,
    CHAT,
    TEXT,
    meaning,
    refused,
)
from web.openai.answer_options import Endpoint
from web.openai.read_request import read_request
from web.openai.requests import default_max_tokens


def test_tools_are_ignored_where_none_may_be_called() -> None:
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}
    assert read_request(CHAT, BARE[CHAT] | tools).ignored == ("tools", "tool_choice")
    functions = {"functions": [{"name": "f"}], "function_call": "none"}
    assert read_request(CHAT, BARE[CHAT] | functions).ignored == ("functions", "function_call")


def test_the_newer_name_of_max_tokens_goes_before_the_older() -> None:
    request = read_request(CHAT, BARE[CHAT] | {"max_tokens": 3, "max_completion_tokens": 4})
    assert request.items()[0]["params"] == {"max_tokens": 4}
    assert request.ignored == ("max_tokens",)


@pytest.mark.parametrize(
    ("sent", "params", "adapted"),
    [
        ({"seed": -1}, {}, {"seed": None}),
        ({"top_k": -1}, {"top_k": 0}, {"top_k": 0}),
        ({"top_p": 0}, {"temperature": 0}, {"temperature": 0}),
        (
            {"top_p": 0.0, "temperature": 0.7, "seed": -1},
            {"temperature": 0},
            {"seed": None, "temperature": 0},
        ),
        ({"seed": 0, "top_k": 5, "top_p": 0.5}, {"seed": 0, "top_k": 5, "top_p": 0.5}, {}),
    ],
)
def test_what_other_servers_take_is_adapted(
    sent: dict[str, Any], params: dict[str, Any], adapted: dict[str, Any]
) -> None:
    for endpoint in (CHAT, TEXT):
        request = read_request(endpoint, BARE[endpoint] | sent)
        assert (request.items()[0]["params"], request.answer_options.adapted) == (params, adapted)


@pytest.mark.parametrize(
    "sent", [{"seed": -2}, {"top_k": -2}, {"top_p": -0.1}, {"seed": True}, {"top_p": False}]
)
def test_what_no_server_takes_is_refused(sent: dict[str, Any]) -> None:
    assert refused(CHAT, **sent).errors[0]["field"] in sent


def test_no_number_of_tokens_given_is_none_told_to_the_item() -> None:
    (item,), _ = meaning(CHAT, BARE[CHAT])
    assert item["params"] == {}
    assert (default_max_tokens(CHAT), default_max_tokens(TEXT)) == (4096, 16)


@pytest.mark.parametrize(
    ("prompt", "items"),
    [
        ("a b", [{"prompt": "a b"}]),
        (["a", "b"], [{"prompt": "a"}, {"prompt": "b"}]),
        ([1, 2], [{"prompt_ids": [1, 2]}]),
        ([[1, 2], [3]], [{"prompt_ids": [1, 2]}, {"prompt_ids": [3]}]),
    ],
)
def test_a_prompt_may_be_text_or_token_ids_or_lists_of_them(
    prompt: Any, items: list[dict[str, Any]]
) -> None:
    found, _ = meaning(TEXT, {"model": "m", "prompt": prompt})
    assert [
        {name: each[name] for name in each if name.startswith("prompt")} for each in found
    ] == items


@pytest.mark.parametrize(
    "prompt", [None, [], 5, {}, ["a", 1], [["a"]], [[1], "a"], [True], [[-1]], [1.5], [{}]]
)
def test_any_other_prompt_is_refused_with_one_message(prompt: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_request(TEXT, {"model": "m", "prompt": prompt})
    assert str(refused.value.errors[0]["field"]).startswith("prompt")


def test_text_parts_are_lines_and_other_parts_are_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (item,), _ = meaning(
        CHAT, {"model": "m", "messages": [{"role": "developer", "content": parts}]}
    )
    assert item["messages"] == [{"role": "system", "content": "a\nb"}]
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    with pytest.raises(InvalidRequest, match="image_url"):
        read_request(CHAT, {"model": "m", "messages": [{"role": "user", "content": [image]}]})


@pytest.mark.parametrize(
    ("endpoint", "fields", "field"),
    [
        (CHAT, {"top_logprobs": 2}, "top_logprobs"),
        (TEXT, {"max_tokens": 0}, "max_tokens"),
        (TEXT, {"temperature": "hot"}, "temperature"),
        (
            CHAT,
            {"messages": [{"role": "function", "content": "x", "name": "f"}]},
            "messages.0.role",
        ),
    ],
)
def test_what_does_not_hold_together_names_its_field(
    endpoint: Endpoint, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_request(endpoint, BARE[endpoint] | fields)
    assert field in [entry["field"] for entry in refused.value.errors]


def test_scoring_asks_for_the_prompt_s_log_probabilities_and_one_token_that_is_not_shown() -> None:
    request = read_request(
        TEXT, {"model": "m", "prompt": [[1, 2]], "max_tokens": 0, "echo": True, "logprobs": 1}
    )
    (item,) = request.items()
    assert item["params"] == {"max_tokens": 1, "logprobs": 1, "prompt_logprobs": 1}
    assert request.answer_options.scored and request.answer_options.echo


def test_requests_are_frozen() -> None:
    with pytest.raises(ValidationError):
        read_request(CHAT, BARE[CHAT]).n = 2  # type: ignore[misc]  # that it is refused
