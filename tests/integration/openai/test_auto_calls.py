"""Calls that may be made are read out of what a model wrote: here it repeats what it was told."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.support.stack import Stack

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALL = '<tool_call> {"name": "weather", "arguments": {"city": "Köln"}} </tool_call>'


def ask(client: openai.OpenAI, text: str, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    asked = {"model": "echo", "messages": messages, "tools": TOOLS, "max_tokens": 200}
    return {**asked, "temperature": 0, **fields}


@pytest.mark.parametrize("logprobs", [False, True])
def test_a_call_is_the_same_whole_and_streamed(client: openai.OpenAI, logprobs: bool) -> None:
    asked = ask(client, f"Look: {CALL}", logprobs=logprobs)
    whole = client.chat.completions.create(**asked).choices[0]
    calls = whole.message.tool_calls or []  # what it is told fits into its answer several times
    assert {call.function.arguments for call in calls} == {'{"city": "Köln"}'}
    assert whole.finish_reason == "tool_calls"
    # What our text says of calls is no call itself.
    assert whole.message.content and "the function's name" in whole.message.content
    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion().choices[0]
    assert final.message.content == whole.message.content
    streamed = final.message.tool_calls or []
    assert [call.function.arguments for call in streamed] == [
        call.function.arguments for call in calls
    ]
    assert final.finish_reason == "tool_calls"
    if logprobs:
        assert final.logprobs and whole.logprobs
        assert final.logprobs.content == whole.logprobs.content


def test_a_call_of_another_function_stays_text(client: openai.OpenAI) -> None:
    text = CALL.replace("weather", "news")
    answer = client.chat.completions.create(**ask(client, text)).choices[0]
    assert answer.finish_reason == "stop" and not answer.message.tool_calls
    assert answer.message.content and text in answer.message.content


def test_a_model_without_structured_output_says_so(stack: Stack) -> None:
    for fields in (
        {"tool_choice": "required"},
        {"tools": [{**TOOLS[0], "function": {**TOOLS[0]["function"], "strict": True}}]},
        {"tools": [], "response_format": {"type": "json_object"}},
    ):
        with pytest.raises(openai.BadRequestError, match="has no structured output") as raised:
            stack.client.chat.completions.create(**ask(stack.client, "x", **fields))
        assert raised.value.code == "unsupported"
        assert raised.value.param == ("response_format" if "response_format" in fields else "tools")
