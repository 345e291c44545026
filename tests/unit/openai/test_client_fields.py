"""Every field of the client's own request types is honoured, ignored and named, or refused by
name."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat import (
    chat_completion_message_function_tool_call_param as call_params,
)
from openai.types.shared_params import (
    FunctionDefinition,
    ResponseFormatJSONObject,
    ResponseFormatJSONSchema,
    ResponseFormatText,
)
from openai.types.shared_params import (
    response_format_json_schema as schema_params,
)

from common.params import SamplingParams
from tests.unit.openai.fields import (
    BARE,
    BESIDES,
    CHAT,
    CLIENTS,
    HONOURED,
    IGNORED,
    MODELS,
    REFUSED,
    TEXT,
    meaning,
    refused,
)
from web.openai import field_rules
from web.openai.answer_options import Endpoint
from web.openai.read_request import RULES, read_request


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
        "thinking",
    }


TYPES: list[tuple[str, tuple[type, ...]]] = [
    ("stream_options", (ChatCompletionStreamOptionsParam,)),
    (
        "messages",
        (
            ChatCompletionAssistantMessageParam,
            ChatCompletionDeveloperMessageParam,
            ChatCompletionSystemMessageParam,
            ChatCompletionToolMessageParam,
            ChatCompletionUserMessageParam,
        ),
    ),
    ("messages.tool_calls", (ChatCompletionMessageFunctionToolCallParam,)),
    ("messages.tool_calls.function", (call_params.Function,)),
    ("tools", (ChatCompletionFunctionToolParam,)),
    ("tools.function", (FunctionDefinition,)),
    ("response_format", (ResponseFormatJSONObject, ResponseFormatJSONSchema, ResponseFormatText)),
    ("response_format.json_schema", (schema_params.JSONSchema,)),
]


@pytest.mark.parametrize(("path", "types"), TYPES, ids=[path for path, _ in TYPES])
def test_every_field_of_the_client_s_nested_types_is_known(
    path: str, types: tuple[type, ...]
) -> None:
    first, *names = path.split(".")
    inside = field_rules.INSIDE[first]
    for name in names:
        inside = inside.inside[name]
    fields = set().union(*(get_type_hints(each) for each in types))
    assert fields <= {*inside.supported, *inside.rules}


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
