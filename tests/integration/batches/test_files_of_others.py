"""Batch files as they were written for other servers run unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from openai.types.chat import ChatCompletion
from openai.types.completion import Completion

from tests.support.batches import CHAT, COMPLETIONS, BatchUser, chat, completion

LLAMA = "meta-llama/Meta-Llama-3-8B-Instruct"
# vLLM's example, openai_example_batch.jsonl
VLLM = b"""\
{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "meta-llama/Meta-Llama-3-8B-Instruct", "messages": [{"role": "system", "content": "You are a helpful assistant."},{"role": "user", "content": "Hello world!"}],"max_completion_tokens": 1000}}
{"custom_id": "request-2", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "meta-llama/Meta-Llama-3-8B-Instruct", "messages": [{"role": "system", "content": "You are an unhelpful assistant."},{"role": "user", "content": "Hello world!"}],"max_completion_tokens": 1000}}
"""  # noqa: E501


def bodies(mill: BatchUser, file_id: str | None) -> dict[str, Any]:
    return {row["custom_id"]: row["response"]["body"] for row in mill.rows(file_id)}


def test_files_of_others_run_unchanged(make_mill: Callable[[], BatchUser]) -> None:
    mill = make_mill()
    mill.web(model_aliases=f"{LLAMA}=echo,gpt-4o-mini=echo")
    mill.worker()
    done = mill.wait(mill.submit(VLLM))
    found = bodies(mill, done.output_file_id)
    assert list(found) == ["request-1", "request-2"] and {
        body["model"] for body in found.values()
    } == {LLAMA}

    lines: list[Any] = [
        b"",
        {"custom_id": 1, "body": chat("", "one two")["body"] | {"model": LLAMA}},
        b"   ",
        {**completion("text", "a b c"), "comment": "kept out"},
        chat("aliased", "three", model="gpt-4o-mini"),
        {**chat("nulls", "four", seed=None, tools=None), "method": None, "url": None, "tags": None},
        {**chat("misplaced", "five"), "temperature": 0.5},
        completion("long", " ".join(["w"] * 40)),
        b"",
    ]
    done = mill.wait(mill.submit(lines))
    assert done.status == "completed", done.errors
    found = bodies(mill, done.output_file_id)
    assert {name: body["model"] for name, body in found.items()} == {
        "1": LLAMA, "text": "echo", "aliased": "gpt-4o-mini", "nulls": "echo", "long": "echo",
    }  # fmt: skip
    assert ChatCompletion.model_validate(found["1"]).choices[0].message.content == "one two"
    assert Completion.model_validate(found["text"]).choices[0].text == "a b c"
    assert found["text"]["id"].startswith("cmpl-") and found["1"]["id"].startswith("chatcmpl-")
    assert found["long"]["usage"]["completion_tokens"] == 16, "each endpoint has its own default"
    (refused,) = mill.rows(done.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("misplaced", 400)
    assert refused["response"]["body"]["error"]["param"] == "temperature"


def test_a_number_and_its_text_are_one_custom_id(running: BatchUser) -> None:
    done = running.run([chat("1", "one"), json.dumps({**chat("", "two"), "custom_id": 1}).encode()])
    assert done.status == "failed" and done.errors and done.errors.data
    assert [(error.line, error.code) for error in done.errors.data] == [(2, "duplicate_custom_id")]


def test_a_file_for_one_endpoint_runs_in_a_batch_for_the_other(running: BatchUser) -> None:
    done = running.run([completion("a", "x y", max_tokens=4)], CHAT)
    assert bodies(running, done.output_file_id)["a"]["object"] == "text_completion"
    done = running.run([chat("a", "x y")], COMPLETIONS)
    assert bodies(running, done.output_file_id)["a"]["object"] == "chat.completion"
