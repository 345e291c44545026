"""Null means not given; unknown and misspelt fields are refused, or ignored and named."""

from __future__ import annotations

import time

import pytest

from tests.unit.openai.fields import (
    BARE,
    CHAT,
    MODELS,
    TEXT,
    meaning,
    refused,
)
from web.openai.answer_options import Endpoint
from web.openai.field_filter import LogOnce, header_names
from web.openai.read_request import RULES, read_request


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
    found = header_names(names)
    assert len(found) == 20
    assert found[:3] == ["a??Set-Cookie??x", "???", "x" * 64]


def test_a_name_is_said_once() -> None:
    said: list[str] = []
    once = LogOnce(said.append)
    once(["a", "b"])
    once(["a", "c"])
    assert said == ["a", "b", "c"]
    once(f"n{n}" for n in range(2000))
    assert len(said) == LogOnce.MOST
