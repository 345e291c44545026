"""Every field of OpenAI's requests with a value: honoured, ignored or refused; how one is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import (
    completion_create_params as chat_create_params,
)
from pydantic import BaseModel

from common.errors import InvalidRequest
from web.openai.answer_options import Endpoint
from web.openai.read_request import read_request
from web.openai.requests import ChatRequest, CompletionRequest

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
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
# A value for each field that is honoured, which changes the item or the `AnswerOptions`.
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
        "response_format": {"type": "json_object"},
        "safety_identifier": "s",
        "seed": 5,
        "stop": "x",
        "temperature": 0.5,
        "tools": [TOOL],
        "top_p": 0.5,
        "user": "u",
        # vLLM's
        "guided_choice": ["a"],
        "guided_grammar": "start: /a/",
        "guided_json": {},
        "guided_regex": "a",
        "include_reasoning": False,
        "structured_outputs": {"json": {}},
        "thinking_token_budget": 5,
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
        # vLLM's
        "guided_choice": ["a"],
        "guided_grammar": "start: /a/",
        "guided_json": '{"type": "integer"}',
        "guided_regex": "a",
        "response_format": {"type": "json_object"},
        "structured_outputs": {"json_object": True},
    },
}
# Honoured together with another field.
BESIDES = {
    CHAT: {"stream", "stream_options", "top_logprobs", "tool_choice", "parallel_tool_calls"},
    TEXT: {"stream", "stream_options"},
}
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
    "suffix": "x",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
    # vLLM's
    "add_generation_prompt": False,
    "allowed_token_ids": [1],
    "chat_template": "{{ messages }}",
    "continue_final_message": True,
    "documents": [{"text": "x"}],
    "enable_thinking": False,
    "include_stop_str_in_output": True,
    "logits_processors": ["x"],
    "prompt_embeds": "x",
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "skip_special_tokens": False,
    "structural_tag": "x",
    "truncate_prompt_tokens": 5,
    "use_beam_search": True,
    "vllm_xargs": {"a": 1},
}


def meaning(endpoint: Endpoint, body: dict[str, Any]) -> Any:
    request = read_request(endpoint, body)
    return request.items(), replace(request.answer_options, ignored=())


def refused(endpoint: Endpoint, lenient: bool = False, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        read_request(endpoint, BARE[endpoint] | fields, lenient=lenient)
    return raised.value
