"""Requests with exactly the fields that clients send (docs/clients.md has their versions), and what
comes back."""

from __future__ import annotations

from typing import Any

import openai
import pytest

HI = [{"role": "user", "content": "Say hi."}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
VLLM = (
    "best_of, use_beam_search, skip_special_tokens, spaces_between_special_tokens, "
    "add_generation_prompt, "
    "add_special_tokens, include_stop_str_in_output, return_token_ids, tools, tool_choice"
)
CHAT, TEXT = "/chat/completions", "/completions"

# (client, path, body without the model, fields that are ignored and named)
TAKEN: list[tuple[str, str, dict[str, Any], str | None]] = [
    ("openai", CHAT, {"messages": HI, "max_tokens": 4}, None),
    (
        "openai for JavaScript",
        CHAT,
        {
            "messages": [{"role": "developer", "content": "short"}, *HI],
            "max_completion_tokens": 4,
            "stream": True,
            "stream_options": {"include_usage": True},
            "store": True,
        },
        "store",
    ),
    (
        "litellm as hosted_vllm",
        CHAT,
        {"messages": HI, "max_tokens": 4, "seed": -1, "top_k": -1},
        None,
    ),
    ("litellm", TEXT, {"prompt": "Once", "max_tokens": 4}, None),
    (
        "langchain-openai",
        CHAT,
        {
            "messages": [
                {"content": "s", "role": "system"},
                {"content": "hi", "role": "user", "name": "ann"},
                {"content": "hello", "role": "assistant"},
                {"content": [{"type": "text", "text": "x"}], "role": "user"},
            ],
            "logprobs": True,
            "max_completion_tokens": 4,
            "n": 2,
            "seed": 3,
            "top_logprobs": 1,
        },
        "messages.name",
    ),
    (
        "pydantic-ai",
        CHAT,
        {
            "messages": [{"role": "system", "content": "be short"}, *HI],
            "max_completion_tokens": 4,
            "reasoning_effort": "low",
            "seed": 1,
            "stream": False,
        },
        "reasoning_effort",
    ),
    (
        "openai-agents",
        CHAT,
        {"messages": [{"content": "short", "role": "system"}, *HI], "max_tokens": 4, "store": True},
        "store",
    ),
    (
        "llama-index",
        CHAT,
        {"messages": HI, "max_tokens": 4, "stream": False, "temperature": 0.1},
        None,
    ),
    (
        "haystack",
        CHAT,
        {
            "messages": [{"role": "user", "name": "ann", "content": "hi"}],
            "max_tokens": 4,
            "n": 1,
            "stream": False,
        },
        "messages.name",
    ),
    (
        "smolagents",
        CHAT,
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
            "max_tokens": 4,
            "stop": ["Observation:", "Calling tools:", "</code>"],
        },
        None,
    ),
    ("dspy", CHAT, {"messages": HI, "temperature": 0.5, "max_tokens": 4}, None),
    (
        "ai",
        TEXT,
        {"max_tokens": 4, "prompt": "user:\nhi\n\nassistant:\n", "stop": ["\nuser:"]},
        None,
    ),
    (
        "lm-eval, log-likelihoods",
        TEXT,
        {
            "prompt": [[104, 105]],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": 1,
            "seed": 1234,
            "echo": True,
        },
        None,
    ),
    (
        "lm-eval, texts",
        CHAT,
        {"messages": HI, "max_tokens": 4, "temperature": 0.0, "stop": ["\n"], "seed": 1234},
        None,
    ),
    (
        "vLLM's own client, everything at its default",
        CHAT,
        {
            "messages": HI,
            "max_tokens": 4,
            "best_of": 1,
            "use_beam_search": False,
            "skip_special_tokens": True,
            "spaces_between_special_tokens": True,
            "add_generation_prompt": True,
            "add_special_tokens": False,
            "include_stop_str_in_output": False,
            "return_token_ids": False,
            "guided_json": None,
            "logit_bias": {},
            "structured_outputs": None,
            "tools": [WEATHER],
            "tool_choice": "none",
            "top_p": 0,
        },
        VLLM,
    ),
    (
        "a client of another server",
        CHAT,
        {
            "messages": [{"role": "user", "content": "hi", "id": "m1"}],
            "max_tokens": 4,
            "cache_prompt": True,
            "nickname\r\nx": 1,
        },
        "cache_prompt, nickname??x, messages.id",
    ),
    (
        "a client that sends nulls",
        CHAT,
        {
            "messages": [
                {
                    "role": "user",
                    "content": "hi",
                    "refusal": None,
                    "audio": None,
                    "tool_calls": None,
                }
            ],
            "max_tokens": 4,
            "n": None,
            "stop": None,
            "logit_bias": None,
            "tools": None,
            "response_format": None,
        },
        None,
    ),
]

# (what, path, body without the model, the error's param, what its message has)
REFUSED: list[tuple[str, str, dict[str, Any], str, str]] = [
    (
        "a tool that may be called",
        CHAT,
        {"messages": HI, "tools": [WEATHER]},
        "tools",
        "not supported",
    ),
    (
        "instructor's choice of a tool",
        CHAT,
        {
            "messages": HI,
            "tool_choice": {"type": "function", "function": {"name": "A"}},
            "tools": [WEATHER],
        },
        "tool_choice",
        "not supported",
    ),
    (
        "a format",
        CHAT,
        {"messages": HI, "response_format": {"type": "json_object"}},
        "response_format",
        "format",
    ),
    ("vLLM's format", TEXT, {"prompt": "a", "guided_json": {}}, "guided_json", "format"),
    (
        "a misspelt name",
        CHAT,
        {"messages": HI, "max_token": 4},
        "max_token",
        ("did you mean max_tokens"),
    ),
    (
        "an answer over the context",
        CHAT,
        {"messages": HI, "max_tokens": 9000},
        "messages",
        "context length is 2560",
    ),
    (
        "the newer name over the context",
        CHAT,
        {"messages": HI, "max_completion_tokens": 9000},
        "messages",
        "However, you requested",
    ),
    (
        "a chat over the context",
        CHAT,
        {"messages": [{"role": "user", "content": "x" * 2600}]},
        "messages",
        "This model's maximum context length is 2560 tokens. However, ",
    ),
    (
        "a long chat, uncounted",
        CHAT,
        {"messages": [{"role": "user", "content": "x" * 2_000_000}]},
        "messages",
        "This model's maximum context length is 2560 tokens. However, ",
    ),
    (
        "token ids over the context",
        TEXT,
        {"prompt": [5] * 3000},
        "prompt",
        "This model's maximum context length is 2560 tokens. However, ",
    ),
    (
        "one of several prompts over it",
        TEXT,
        {"prompt": ["a", "x" * 2600]},
        "prompt",
        ("context length is 2560"),
    ),
    ("a negative token id", TEXT, {"prompt": [-1]}, "prompt", "prompt"),
    ("a token id of no token", TEXT, {"prompt": [[5], [300]]}, "prompt", "token id 300"),
    (
        "min_tokens above the newer max_tokens",
        CHAT,
        {"messages": HI, "max_completion_tokens": 2, "min_tokens": 3},
        "min_tokens",
        "min_tokens is 3",
    ),
    (
        "a chat without content",
        CHAT,
        {"messages": [{"role": "user", "content": None}]},
        "messages.0.content",
        "required",
    ),
    ("no messages", CHAT, {"messages": []}, "messages", "empty"),
    (
        "a temperature below 0",
        CHAT,
        {"messages": HI, "temperature": -1},
        "temperature",
        ("at least 0"),
    ),
]


def send(client: openai.OpenAI, path: str, body: dict[str, Any]) -> Any:
    """The raw answer to exactly this body."""
    namespace = client.chat.completions if path == CHAT else client.completions
    needed = {name: body[name] for name in ("messages", "prompt", "stream") if name in body}
    more = {name: value for name, value in body.items() if name not in needed}
    return namespace.with_raw_response.create(model="bytes", **needed, extra_body=more)


@pytest.mark.parametrize(
    ("path", "body", "ignored"), [case[1:] for case in TAKEN], ids=[case[0] for case in TAKEN]
)
def test_what_clients_send_is_taken(
    openai_client: openai.OpenAI, path: str, body: dict[str, Any], ignored: str | None
) -> None:
    answer = send(openai_client, path, body)
    assert (answer.status_code, answer.headers.get("x-ignored-params")) == (200, ignored)
    assert answer.http_response.read()


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_what_is_refused_is_a_400_in_the_client_s_words(
    openai_client: openai.OpenAI, path: str, body: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        send(openai_client, path, body)
    assert raised.value.param == param
    assert said in raised.value.message and "enqueued" not in raised.value.message
    if "context length is" in raised.value.message:
        assert raised.value.code == "context_length_exceeded"


def test_the_native_api_takes_none_of_this(client: Any) -> None:
    for params in ({"seed": -1}, {"top_k": -1}, {"top_p": 0}, {"skip_special_tokens": True}):
        with pytest.raises(Exception, match=next(iter(params))):
            client.submit({"model": "bytes", "prompts": ["x"], "params": params})


def test_an_answer_tells_what_took_effect(openai_client: openai.OpenAI) -> None:
    sent = {"messages": HI, "max_tokens": 6, "top_p": 0, "top_k": -1, "seed": -1}
    told = send(openai_client, CHAT, sent).http_response.json()
    assert told["params"].keys() == {"seed", "top_k", "temperature"}
    assert (told["params"]["top_k"], told["params"]["temperature"]) == (0, 0)
    assert told["params"]["seed"] >= 0
    likeliest = send(
        openai_client, CHAT, {"messages": HI, "max_tokens": 6, "temperature": 0}
    ).http_response.json()
    assert told["choices"] == likeliest["choices"]
    assert "params" not in likeliest


def test_a_seed_that_was_drawn_gives_the_same_text_again(openai_client: openai.OpenAI) -> None:
    first = send(
        openai_client, TEXT, {"prompt": "a", "max_tokens": 8, "seed": -1}
    ).http_response.json()
    again = {"prompt": "a", "max_tokens": 8, "seed": first["params"]["seed"]}
    assert send(openai_client, TEXT, again).http_response.json()["choices"] == first["choices"]


def test_a_stream_tells_what_took_effect_and_the_usage_so_far(openai_client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    chunks: list[Any] = list(
        openai_client.chat.completions.create(
            model="bytes",
            messages=HI,  # type: ignore[arg-type]
            max_tokens=6,
            seed=-1,
            stream=True,
            stream_options=options,
            extra_body={"ignore_eos": True},
        )
    )
    usages = [chunk.usage for chunk in chunks]
    assert all(usages)
    counts = [usage.completion_tokens for usage in usages if usage]
    assert (counts[0], counts[-1]) == (0, 6) and counts == sorted(counts)
    assert len({usage.prompt_tokens for usage in usages if usage}) == 1
    (ended,) = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert ended.to_dict()["params"]["seed"] >= 0
