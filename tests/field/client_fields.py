"""What real clients and harnesses send: requests that are taken, and those that are refused."""

from __future__ import annotations

from typing import Any

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
        "functions of before tools",
        CHAT,
        {"messages": HI, "functions": [{"name": "weather"}]},
        "functions",
        "give tools",
    ),
    (
        "a choice of a tool that is not there",
        CHAT,
        {
            "messages": HI,
            "tool_choice": {"type": "function", "function": {"name": "A"}},
            "tools": [WEATHER],
        },
        "tool_choice",
        "none of the tools",
    ),
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
