"""Every field of the client's own request types is honoured, ignored and named, or refused by
name."""

from __future__ import annotations

import time
from dataclasses import replace
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
from pydantic import BaseModel, ValidationError

from common.errors import InvalidRequest
from common.params import SamplingParams
from web.openai import refusals
from web.openai.ignored_fields import Once, told
from web.openai.requests import (
    RULES,
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
MODELS: dict[Endpoint, type[BaseModel]] = {CHAT: ChatRequest, TEXT: CompletionRequest}

# A value for each field that is honoured, which changes the item or the `Ask`.
HONOURED: dict[Endpoint, dict[str, Any]] = {
    CHAT: {
        "messages": [{"role": "user", "content": "other"}],
        "model": "other",
        "frequency_penalty": 0.5,
        "logit_bias": {"5": 1},
        "logprobs": True,
        "max_completion_tokens": 7,
        "max_tokens": 7,
        "metadata": {"a": "b"},
        "n": 2,
        "presence_penalty": 0.5,
        "safety_identifier": "s",
        "seed": 5,
        "stop": "x",
        "temperature": 0.5,
        "top_p": 0.5,
        "user": "u",
    },
    TEXT: {
        "model": "other",
        "prompt": "other",
        "echo": True,
        "frequency_penalty": 0.5,
        "logit_bias": {"5": 1},
        "logprobs": 2,
        "max_tokens": 7,
        "n": 2,
        "presence_penalty": 0.5,
        "seed": 5,
        "stop": ["x"],
        "temperature": 0.5,
        "top_p": 0.5,
        "user": "u",
    },
}
# Honoured together with another field.
BESIDES = {CHAT: {"stream", "stream_options", "top_logprobs"}, TEXT: {"stream", "stream_options"}}

# Values that change nothing, which are named as ignored; and values that would, which are refused.
IGNORED: dict[str, list[Any]] = {
    # OpenAI's
    "best_of": [1, 5],
    "function_call": ["none", "auto"],
    "functions": [[]],
    "modalities": [["text"]],
    "parallel_tool_calls": [True, False],
    "prediction": [{"type": "content", "content": "x"}],
    "prompt_cache_key": ["k"],
    "prompt_cache_options": [{}],
    "prompt_cache_retention": ["in_memory", "24h"],
    "reasoning_effort": ["none", "low", "high"],
    "response_format": [{"type": "text"}],
    "service_tier": ["auto", "flex", "priority"],
    "store": [True, False],
    "stream_options": [{"include_usage": True}],
    "suffix": [""],
    "tool_choice": ["none", "auto"],
    "tools": [[]],
    "verbosity": ["medium"],
    # vLLM's
    "add_generation_prompt": [True],
    "cache_salt": ["s"],
    "continue_final_message": [False],
    "documents": [[]],
    "early_stopping": [False],
    "guided_decoding_backend": ["outlines"],
    "include_reasoning": [True],
    "include_stop_str_in_output": [False],
    "length_penalty": [1.0],
    "logits_processors": [[]],
    "mm_processor_kwargs": [{}],
    "priority": [0, 3],
    "request_id": ["r"],
    "return_token_ids": [False],
    "return_tokens_as_token_ids": [False],
    "skip_special_tokens": [True],
    "spaces_between_special_tokens": [True],
    "structured_outputs": [{}, {"json": None}],
    "thinking_token_budget": [-1],
    "truncation_side": ["left"],
    "use_beam_search": [False],
    "vllm_xargs": [{}],
}
REFUSED: dict[str, Any] = {
    # OpenAI's
    "audio": {"voice": "alloy"},
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "modalities": ["text", "audio"],
    "moderation": {"model": "m"},
    "response_format": {"type": "json_object"},
    "suffix": "x",
    "tool_choice": "required",
    "tools": [{"type": "function"}],
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
    # vLLM's
    "add_generation_prompt": False,
    "allowed_token_ids": [1],
    "chat_template": "{{ messages }}",
    "continue_final_message": True,
    "documents": [{"text": "x"}],
    "enable_thinking": False,
    "guided_choice": ["a"],
    "guided_grammar": "x",
    "guided_json": {},
    "guided_regex": "a",
    "include_reasoning": False,
    "include_stop_str_in_output": True,
    "logits_processors": ["x"],
    "prompt_embeds": "x",
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "skip_special_tokens": False,
    "structured_outputs": {"json": {}},
    "thinking_token_budget": 5,
    "truncate_prompt_tokens": 5,
    "use_beam_search": True,
    "vllm_xargs": {"a": 1},
}


def meaning(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    request = read_request(endpoint, body)
    return request.items(), replace(request.ask, ignored=())


def refused(endpoint: Endpoint, lenient: bool = False, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        read_request(endpoint, BARE[endpoint] | fields, lenient=lenient)
    return raised.value


@pytest.mark.parametrize("endpoint", [CHAT, TEXT])
def test_every_field_of_the_client_is_in_the_table(endpoint: Endpoint) -> None:
    fields = set(get_type_hints(CLIENTS[endpoint]))
    assert len(fields) > 15
    assert fields <= MODELS[endpoint].model_fields.keys() | RULES[endpoint].keys()
    assert fields - RULES[endpoint].keys() <= HONOURED[endpoint].keys() | BESIDES[endpoint]
    assert RULES[endpoint].keys() <= IGNORED.keys() | REFUSED.keys() | {
        "max_tokens",
        "add_special_tokens",
        "detokenize",
        "ec_transfer_params",
        "kv_transfer_params",
        "echo",
        "guided_whitespace_pattern",
        "media_io_kwargs",
        "repetition_detection",
        "return_assistant_tokens_mask",
        "return_prompt_text",
        "return_token_offsets",
        "structural_tag",
    }


@pytest.mark.parametrize(
    ("types", "model", "rules"),
    [
        ((ChatCompletionStreamOptionsParam,), StreamOptions, refusals.STREAM_OPTIONS),
        (
            (
                ChatCompletionAssistantMessageParam,
                ChatCompletionDeveloperMessageParam,
                ChatCompletionSystemMessageParam,
                ChatCompletionUserMessageParam,
            ),
            ChatMessage,
            refusals.MESSAGE,
        ),
    ],
)
def test_every_field_of_the_client_s_nested_types_is_known(
    types: tuple[type, ...], model: Any, rules: Any
) -> None:
    fields = set().union(*(get_type_hints(each) for each in types))
    assert fields <= model.model_fields.keys() | rules.keys()


@pytest.mark.parametrize(
    ("endpoint", "field"), [(at, name) for at in (CHAT, TEXT) for name in HONOURED[at]]
)
def test_an_honoured_field_changes_what_is_asked(endpoint: Endpoint, field: str) -> None:
    assert meaning(endpoint, BARE[endpoint] | {field: HONOURED[endpoint][field]}) != meaning(
        endpoint, BARE[endpoint]
    )


CASES = [(at, name) for at in (CHAT, TEXT) for name in RULES[at]]


@pytest.mark.parametrize(("endpoint", "field"), [case for case in CASES if case[1] in IGNORED])
def test_what_changes_nothing_is_taken_and_named(endpoint: Endpoint, field: str) -> None:
    for value in IGNORED[field]:
        body = BARE[endpoint] | {field: value}
        assert meaning(endpoint, body) == meaning(endpoint, BARE[endpoint])
        assert read_request(endpoint, body).ignored == (field,)


@pytest.mark.parametrize(("endpoint", "field"), [case for case in CASES if case[1] in REFUSED])
def test_what_would_change_the_answer_is_refused_by_name_in_both_modes(
    endpoint: Endpoint, field: str
) -> None:
    for lenient in (True, False):
        error = refused(endpoint, lenient, **{field: REFUSED[field]})
        assert [entry["field"] for entry in error.errors] == [field]
        assert "is not supported" in error.message


@pytest.mark.parametrize("endpoint", [CHAT, TEXT])
def test_null_means_not_given(endpoint: Endpoint) -> None:
    names = {*MODELS[endpoint].model_fields, *RULES[endpoint], "nobody_knows_this"} - {
        "model",
        "messages",
        "prompt",
    }
    body = BARE[endpoint] | dict.fromkeys(names)
    assert meaning(endpoint, body) == meaning(endpoint, BARE[endpoint])
    assert read_request(endpoint, body).ignored == ()


def test_null_means_not_given_in_messages_and_their_parts() -> None:
    part = {"type": "text", "text": "hi", "annotations": None, "cache_control": None}
    nulls = dict.fromkeys(
        ("refusal", "audio", "tool_calls", "function_call", "annotations", "name", "reasoning")
    )
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [part], **nulls}],
        "stream": True,
    }
    options = {"stream_options": {"include_usage": None, "include_obfuscation": None}}
    request = read_request(CHAT, body | options)
    assert request.items() == read_request(CHAT, BARE[CHAT] | {"stream": True}).items()
    assert request.ignored == ()


def test_tools_are_ignored_where_none_may_be_called() -> None:
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}
    assert read_request(CHAT, BARE[CHAT] | tools).ignored == ("tools", "tool_choice")
    functions = {"functions": [{"name": "f"}], "function_call": "none"}
    assert read_request(CHAT, BARE[CHAT] | functions).ignored == ("functions", "function_call")


def test_the_newer_name_of_max_tokens_goes_before_the_older() -> None:
    request = read_request(CHAT, BARE[CHAT] | {"max_tokens": 3, "max_completion_tokens": 4})
    assert request.items()[0]["params"] == {"max_tokens": 4}
    assert request.ignored == ("max_tokens",)


def test_unknown_fields_are_ignored_and_named_where_that_is_chosen() -> None:
    message = {
        "role": "user",
        "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
    }
    messages = [message | {"name": "ann", "tag": 1}, {"role": "user", "content": "x", "tag": 2}]
    body = {"model": "m", "messages": messages, "cache_prompt": True, "mirostat": 2}
    request = read_request(CHAT, body, lenient=True)
    assert request.ignored == (
        "cache_prompt",
        "mirostat",
        "messages.name",
        "messages.tag",
        "messages.content.cache_control",
    )
    errors = refused(CHAT, messages=messages, cache_prompt=True).errors
    assert [(each["code"], each["field"]) for each in errors] == [
        ("unknown_field", "cache_prompt"),
        ("unknown_field", "messages.0.tag"),
        ("unknown_field", "messages.0.content.0.cache_control"),
        ("unknown_field", "messages.1.tag"),
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_token", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("temprature", "temperature"),
        ("seeds", "seed"),
        ("max_new_tokens", "max_tokens"),
        ("max_length", "max_tokens"),
        ("do_sample", "temperature"),
        ("chat_template_kwarg", "chat_template_kwargs"),
    ],
)
def test_a_misspelt_field_is_refused_in_both_modes(name: str, meant: str) -> None:
    for lenient in (True, False):
        error = refused(CHAT, lenient, **{name: 1})
        assert (error.errors[0]["code"], error.errors[0]["field"]) == ("unknown_field", name)
        assert meant in error.message


def test_a_hundred_unknown_fields_are_ignored_and_no_more() -> None:
    assert (
        len(
            read_request(CHAT, BARE[CHAT] | {f"x{n}_": n for n in range(100)}, lenient=True).ignored
        )
        == 100
    )
    many = {f"x{n}_": n for n in range(4000)}
    began = time.monotonic()
    assert len(refused(CHAT, lenient=True, **many).errors) == 100
    assert time.monotonic() - began < 2


def test_names_in_a_header_are_few_and_harmless() -> None:
    names = ["a\r\nSet-Cookie: x", "é" * 3, "x" * 500, *(f"n{n}" for n in range(50))]
    found = told(names)
    assert len(found) == 20
    assert found[:3] == ["a??Set-Cookie??x", "???", "x" * 64]


def test_a_name_is_said_once() -> None:
    said: list[str] = []
    once = Once(said.append)
    once(["a", "b"])
    once(["a", "c"])
    assert said == ["a", "b", "c"]
    once(f"n{n}" for n in range(2000))
    assert len(said) == Once.MOST


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
        assert (request.items()[0]["params"], request.ask.adapted) == (params, adapted)


@pytest.mark.parametrize(
    "sent", [{"seed": -2}, {"top_k": -2}, {"top_p": -0.1}, {"seed": True}, {"top_p": False}]
)
def test_what_no_server_takes_is_refused(sent: dict[str, Any]) -> None:
    assert refused(CHAT, **sent).errors[0]["field"] in sent


@pytest.mark.parametrize("endpoint", [CHAT, TEXT])
def test_our_own_sampling_settings_stand_beside_the_others(endpoint: Endpoint) -> None:
    extra = {
        "top_k": 5,
        "min_p": 0.1,
        "typical_p": 0.9,
        "repetition_penalty": 1.1,
        "stop_token_ids": [3],
        "min_tokens": 2,
        "ignore_eos": True,
        "bad_words": ["x"],
        "no_repeat_ngram_size": 3,
        "prompt_logprobs": 1,
    }
    (item,), _ = meaning(endpoint, BARE[endpoint] | extra)
    assert item["params"] == extra
    assert SamplingParams.model_fields.keys() <= MODELS[endpoint].model_fields.keys()


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
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
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
    assert request.ask.scored and request.ask.echo


def test_requests_are_frozen() -> None:
    with pytest.raises(ValidationError):
        read_request(CHAT, BARE[CHAT]).n = 2  # type: ignore[misc]  # that it is refused
