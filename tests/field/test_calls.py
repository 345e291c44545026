"""Formats and tools, asked for as OpenAI's client asks, with a model that writes at random: what
comes back parses all the same."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.field.client_fields import HI
from tests.support.batches import CHAT, OVER, jsonl
from tests.support.waiting import wait_until


class Mood(BaseModel):
    mood: Literal["good", "bad"]
    sure: bool


CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Köln", "東京"]}, "rain": {"type": "boolean"}},
    "required": ["city", "rain"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "now"}},
]
MODEL: Any = {"model": "bytes", "messages": HI, "max_tokens": 400}


def test_a_model_of_pydantic_is_parsed(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.parse(**MODEL, response_format=Mood, seed=1)
    (choice,) = answer.choices
    assert isinstance(choice.message.parsed, Mood)
    assert choice.finish_reason == "stop" and choice.message.refusal is None


def test_a_stream_of_the_same_is_parsed(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(**MODEL, response_format=Mood, seed=1) as stream:
        kinds = {event.type for event in stream}
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Mood)
    assert {"content.delta", "content.done"} <= kinds


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_call_that_must_be_made_is_the_same_whole_and_streamed(
    openai_client: openai.OpenAI, choice: Any, seed: int
) -> None:
    asked: Any = {"tools": TOOLS, "tool_choice": choice, "seed": seed, "parallel_tool_calls": False}
    answer = openai_client.chat.completions.create(**MODEL, **asked)
    (whole,) = answer.choices
    assert whole.finish_reason == "tool_calls" and whole.message.content is None
    (call,) = whole.message.tool_calls or []
    assert call.type == "function" and call.id.startswith("call_")
    arguments = json.loads(call.function.arguments)
    if call.function.name == "weather":
        assert arguments["city"] in ("Köln", "東京") and isinstance(arguments["rain"], bool)
    else:
        assert choice == "required" and arguments == {}
    with openai_client.chat.completions.stream(**MODEL, **asked) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls" and final.message.content is None
    (streamed,) = final.message.tool_calls or []
    assert streamed.function.name == call.function.name
    assert streamed.function.arguments == call.function.arguments
    assert "tool_calls.function.arguments.done" in {event.type for event in events}


def test_parallel_calls_end_or_are_cut_off_and_each_parses(openai_client: openai.OpenAI) -> None:
    asked: Any = {"tools": TOOLS, "tool_choice": "required", "n": 4, "logprobs": True}
    answer = openai_client.chat.completions.create(**MODEL, **asked, seed=5)
    for choice in answer.choices:
        calls = choice.message.tool_calls or []
        assert len({call.id for call in calls}) == len(calls) >= 1
        whole = calls if choice.finish_reason == "tool_calls" else calls[:-1]
        for call in whole:
            assert call.type == "function"
            assert isinstance(json.loads(call.function.arguments), dict)
        assert choice.logprobs and choice.logprobs.content


def test_an_answer_that_is_cut_off_says_so(openai_client: openai.OpenAI) -> None:
    asked: Any = {**MODEL, "max_tokens": 45, "seed": 1, "tools": TOOLS}
    named: Any = {"type": "function", "function": {"name": "weather"}}
    answer = openai_client.chat.completions.create(**asked, tool_choice=named)
    assert answer.choices[0].finish_reason == "length"
    with pytest.raises(openai.LengthFinishReasonError):
        openai_client.chat.completions.parse(
            **{**MODEL, "max_tokens": 22}, response_format=Mood, seed=1
        )


@pytest.mark.parametrize("most", [5, 9, 16, 28, 60])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "now"}}])
def test_what_is_cut_off_of_a_call_is_never_content(
    openai_client: openai.OpenAI, most: int, choice: Any
) -> None:
    asked: Any = {**MODEL, "max_tokens": most, "seed": 1, "tools": TOOLS, "tool_choice": choice}
    (whole,) = openai_client.chat.completions.create(**asked).choices
    assert whole.message.content is None
    ends: list[Any] = []
    names: list[Any] = []
    for chunk in openai_client.chat.completions.create(**asked, stream=True):
        (choice,) = chunk.choices
        assert choice.delta.content is None
        ends.append(choice.finish_reason)
        calls = choice.delta.tool_calls or ()
        names += [call.function.name for call in calls if call.id and call.function]
    assert ends[-1] == whole.finish_reason
    assert names == [call.function.name for call in whole.message.tool_calls or ()]


def test_a_whole_conversation_with_calls_is_taken(openai_client: openai.OpenAI) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
    }
    messages: Any = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "17"},
    ]
    answer = openai_client.chat.completions.create(
        model="bytes", messages=messages, tools=TOOLS, max_tokens=5
    )
    assert answer.usage
    bare = openai_client.chat.completions.create(model="bytes", messages=messages, max_tokens=5)
    assert bare.usage and bare.usage.prompt_tokens < answer.usage.prompt_tokens


@pytest.mark.parametrize(
    ("extra", "texts"),
    [
        ({"guided_choice": ["yes", "no"]}, ("yes", "no")),
        ({"guided_regex": "a|b"}, ("a", "b")),
        ({"guided_grammar": 'start: "x" | "y"'}, ("x", "y")),
        ({"guided_json": {"enum": [1, 2]}}, ("1", "2")),
        ({"guided_json": '{"enum": [1, 2]}'}, ("1", "2")),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, ("yes", "no")),
        ({"output": {"choice": ["yes", "no"]}}, ("yes", "no")),
    ],
)
def test_vllm_s_formats_are_held_to(
    openai_client: openai.OpenAI, extra: Any, texts: tuple[str, ...]
) -> None:
    chat = openai_client.chat.completions.create(**MODEL, extra_body=extra)
    text = openai_client.completions.create(
        model="bytes", prompt="a", max_tokens=50, extra_body=extra
    )
    assert chat.choices[0].message.content in texts
    assert text.choices[0].text in texts
    assert chat.choices[0].finish_reason == text.choices[0].finish_reason == "stop"


def run(client: openai.OpenAI, lines: list[Any]) -> tuple[list[Any], list[Any]]:
    """The lines of a batch's output file and of its error file, each read twice."""
    file = client.files.create(file=("lines.jsonl", jsonl(lines)), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")

    def over() -> Any:
        found = client.batches.retrieve(made.id)
        return found if found.status in OVER else None

    batch = wait_until(over)
    found = []
    for id_ in (batch.output_file_id, batch.error_file_id):
        texts = [client.files.content(id_).text for _ in range(2)]
        assert texts[0] == texts[1]
        found.append([json.loads(line) for line in texts[0].splitlines()])
    return found[0], found[1]


def test_a_batch_has_the_same_answers_with_the_same_ids_each_time(
    openai_client: openai.OpenAI,
) -> None:
    bodies: list[dict[str, Any]] = [
        {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": TOOLS},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": CITY}}},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"guided_json": {"not": {}}},
    ]
    lines = [
        {"custom_id": str(place), "body": {**MODEL, "seed": 3, **body}}
        for place, body in enumerate(bodies)
    ]
    output, errors = run(openai_client, lines)
    assert [line["custom_id"] for line in output] == ["0", "1", "2"]
    for line, body in zip(output, bodies, strict=False):
        live = openai_client.chat.completions.create(**{**MODEL, "seed": 3, **body})
        found, expected = line["response"]["body"]["choices"][0], live.choices[0].to_dict()
        for message in (found["message"], expected["message"]):
            for call in message.get("tool_calls", ()):
                del call["id"]
        assert found == expected
    refused, impossible = (line["response"]["body"]["error"] for line in errors)
    assert refused["param"] == "tool_choice"
    assert impossible["message"].startswith("guided_json cannot be honoured: #/not")


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice", "auto"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice", "allowed"),
        ({"tool_choice": "required"}, "tools", "needs tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type", "custom"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools", "more than once"),
        ({"tools": [TOOLS[0]] * 129}, "tools", "128"),
        ({"functions": [{"name": "f"}]}, "functions", "tools"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools.0.function.name",
            "name",
        ),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}
                ],
                "tool_choice": "required",
            },
            "tools.0.function.parameters",
            "- tools.0.function.parameters cannot be honoured: #/not",
        ),
        (
            {"tools": TOOLS, "tool_choice": "required", "stop": ["x"]},
            "stop",
            "stop cannot go with tools",
        ),
        (
            {"response_format": {"type": "json_object"}, "stop": ["x"]},
            "stop",
            "- stop cannot go with response_format:",
        ),
        (
            {"tools": TOOLS, "tool_choice": "required", "max_completion_tokens": 1},
            "max_completion_tokens",
            "- max_completion_tokens is 1",
        ),
        ({"guided_regex": "("}, "guided_regex", "- guided_regex has"),
        (
            {"structured_outputs": {"grammar": "start: ("}},
            "structured_outputs.grammar",
            "- structured_outputs.grammar has",
        ),
        ({"output": {"regex": "("}}, "output", "- output has"),
        ({"thinking_token_budget": 5}, "thinking_token_budget", "leave thinking_token_budget out"),
        ({"thinking": {"max_tokens": 5}}, "thinking", "leave thinking out"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "required"),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            "guided_regex",
            "one",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"not": {}}},
                }
            },
            "response_format",
            "- response_format.json_schema.schema cannot be honoured: #/not",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_by_the_client_s_names(
    openai_client: openai.OpenAI, fields: Any, param: str, said: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        openai_client.chat.completions.create(**MODEL, extra_body=fields)
    assert raised.value.param == param or str(raised.value.param).startswith(f"{param}.")
    assert said in raised.value.message
