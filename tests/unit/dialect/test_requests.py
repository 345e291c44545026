"""Every field of the client's own request types is honoured or refused by name."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types import completion_create_params
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat import (
    completion_create_params as chat_create_params,
)
from pydantic import ValidationError

from common.errors import InvalidRequest
from common.types import SamplingParams
from web.dialect.refusals import REFUSED
from web.dialect.requests import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    Endpoint,
    StreamOptions,
    default_max_tokens,
    read_request,
)

CHAT: Endpoint = "/v1/chat/completions"
TEXT: Endpoint = "/v1/completions"
BARE: dict[Endpoint, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    TEXT: {"model": "m", "prompt": "hi"},
}
CLIENTS = {
    CHAT: chat_create_params.CompletionCreateParamsStreaming,
    TEXT: completion_create_params.CompletionCreateParamsStreaming,
}
MODELS = {CHAT: ChatRequest, TEXT: CompletionRequest}

# A value for each field that is honoured, which changes the item or the `Ask`.
HONOURED: dict[Endpoint, dict[str, Any]] = {
    CHAT: {
        "messages": [{"role": "user", "content": "other"}], "model": "other", "frequency_penalty": 0.5,
        "logit_bias": {"5": 1}, "logprobs": True, "max_completion_tokens": 7, "max_tokens": 7, "metadata": {"a": "b"},
        "n": 2, "presence_penalty": 0.5, "safety_identifier": "s", "seed": 5, "stop": "x", "temperature": 0.5,
        "top_p": 0.5, "user": "u",
    },
    TEXT: {
        "model": "other", "prompt": "other", "echo": True, "frequency_penalty": 0.5, "logit_bias": {"5": 1},
        "logprobs": 2, "max_tokens": 7, "n": 2, "presence_penalty": 0.5, "seed": 5, "stop": ["x"], "temperature": 0.5,
        "top_p": 0.5, "user": "u",
    },
}  # fmt: skip
# Honoured together with another field, or by what already is so.
BESIDES = {
    CHAT: {"stream", "stream_options", "top_logprobs", "prompt_cache_key", "parallel_tool_calls"},
    TEXT: {"stream", "stream_options", "best_of"},
}


def meaning(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    request = read_request(endpoint, body)
    return request.items(), request.ask


@pytest.mark.parametrize("endpoint", [CHAT, TEXT])
def test_every_field_of_the_client_is_in_the_table(endpoint: Endpoint):
    fields = set(get_type_hints(CLIENTS[endpoint]))
    assert len(fields) > 15
    assert fields <= set(MODELS[endpoint].model_fields)
    refused = fields & set(REFUSED)
    assert fields == HONOURED[endpoint].keys() | BESIDES[endpoint] | refused


@pytest.mark.parametrize(
    ("types", "model"),
    [
        ((ChatCompletionStreamOptionsParam,), StreamOptions),
        (
            (
                ChatCompletionAssistantMessageParam,
                ChatCompletionDeveloperMessageParam,
                ChatCompletionSystemMessageParam,
                ChatCompletionUserMessageParam,
            ),
            ChatMessage,
        ),
    ],
)
def test_every_field_of_the_client_s_nested_types_is_known(types: tuple[type, ...], model: type):
    fields = set().union(*(get_type_hints(each) for each in types))
    assert fields <= set(model.model_fields)


@pytest.mark.parametrize(("endpoint", "field"), [(at, name) for at in (CHAT, TEXT) for name in HONOURED[at]])
def test_an_honoured_field_changes_what_is_asked(endpoint: Endpoint, field: str):
    assert meaning(endpoint, BARE[endpoint] | {field: HONOURED[endpoint][field]}) != meaning(endpoint, BARE[endpoint])


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [(at, name) for at in (CHAT, TEXT) for name in MODELS[at].model_fields if name in REFUSED and name != "best_of"],
)
def test_a_refused_field_is_refused_by_name_and_what_asks_for_nothing_is_not(endpoint: Endpoint, field: str):
    with pytest.raises(InvalidRequest) as refused:
        read_request(endpoint, BARE[endpoint] | {field: {"something": 1}})
    assert [entry["field"] for entry in refused.value.errors] == [field]
    assert "is not supported" in refused.value.message
    for neutral in (None, *REFUSED[field][0]):
        assert meaning(endpoint, BARE[endpoint] | {field: neutral}) == meaning(endpoint, BARE[endpoint])


@pytest.mark.parametrize("endpoint", [CHAT, TEXT])
def test_our_own_sampling_settings_stand_beside_the_others(endpoint: Endpoint):
    extra = {
        "top_k": 5, "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.1, "stop_token_ids": [3], "min_tokens": 2,
        "ignore_eos": True, "bad_words": ["x"], "no_repeat_ngram_size": 3, "prompt_logprobs": 1,
    }  # fmt: skip
    (item,), _ = meaning(endpoint, BARE[endpoint] | extra)
    assert item["params"] == extra
    assert SamplingParams.model_fields.keys() <= MODELS[endpoint].model_fields.keys()


@pytest.mark.parametrize("field", ["max_new_tokens", "temprature", "guided_json"])
def test_an_unknown_field_is_refused_by_name(field: str):
    with pytest.raises(InvalidRequest) as refused:
        read_request(CHAT, BARE[CHAT] | {field: 1})
    assert refused.value.errors[0]["field"] == field
    assert refused.value.errors[0]["code"] == "unknown_field"


def test_no_number_of_tokens_given_is_none_told_to_the_item():
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
def test_a_prompt_may_be_text_or_token_ids_or_lists_of_them(prompt: Any, items: list[dict[str, Any]]):
    found, _ = meaning(TEXT, {"model": "m", "prompt": prompt})
    assert [{name: each[name] for name in each if name.startswith("prompt")} for each in found] == items


@pytest.mark.parametrize("prompt", [None, [], 5, {}, ["a", 1], [["a"]], [[1], "a"], [True], [[-1]], [1.5], [{}]])
def test_any_other_prompt_is_refused_with_one_message(prompt: Any):
    with pytest.raises(InvalidRequest) as refused:
        read_request(TEXT, {"model": "m", "prompt": prompt})
    assert str(refused.value.errors[0]["field"]).startswith("prompt")


def test_text_parts_are_lines_and_other_parts_are_refused():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (item,), _ = meaning(CHAT, {"model": "m", "messages": [{"role": "developer", "content": parts}]})
    assert item["messages"] == [{"role": "system", "content": "a\nb"}]
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    with pytest.raises(InvalidRequest, match="image_url"):
        read_request(CHAT, {"model": "m", "messages": [{"role": "user", "content": [image]}]})


@pytest.mark.parametrize(
    ("endpoint", "fields", "field"),
    [
        (CHAT, {"top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        (CHAT, {"stream_options": {"include_usage": True}}, "stream_options"),
        (TEXT, {"best_of": 3}, "best_of"),
        (TEXT, {"max_tokens": 0}, "max_tokens"),
        (TEXT, {"temperature": "hot"}, "temperature"),
        (CHAT, {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role"),
    ],
)
def test_what_does_not_hold_together_names_its_field(endpoint: Endpoint, fields: dict[str, Any], field: str):
    with pytest.raises(InvalidRequest) as refused:
        read_request(endpoint, BARE[endpoint] | fields)
    assert field in [entry["field"] for entry in refused.value.errors]


def test_scoring_asks_for_the_prompt_s_log_probabilities_and_one_token_that_is_not_shown():
    request = read_request(TEXT, {"model": "m", "prompt": [[1, 2]], "max_tokens": 0, "echo": True, "logprobs": 1})
    (item,) = request.items()
    assert item["params"] == {"max_tokens": 1, "logprobs": 1, "prompt_logprobs": 1}
    assert request.ask.scored and request.ask.echo


def test_requests_are_frozen():
    with pytest.raises(ValidationError):
        read_request(CHAT, BARE[CHAT]).n = 2
