"""A chat template's variables reach it from every entrance, and what breaks it is one row's: live
web and worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from cli.client import Client
from tests.support.stack import Stack
from tests.support.waiting import wait_until

THOUGHTLESS = {"enable_thinking": False}


def hi(text: str = "hi") -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def stack(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(empty_url, tmp_path_factory.mktemp("stack"))
    try:
        started.workers.start(app="tests.field.templated", echo_delay=0)
        yield started
    finally:
        started.close()


def said(client: openai.OpenAI, **fields: Any) -> str:
    found = client.chat.completions.create(
        **{"model": "echo", "messages": hi(), "temperature": 0, **fields}
    )
    return str(found.choices[0].message.content)


def batch(client: openai.OpenAI, bodies: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of a batch's two files, by name."""
    lines = [
        {
            "custom_id": str(n),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "echo", "temperature": 0} | body,
        }
        for n, body in enumerate(bodies)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("requests.jsonl", content), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    wait_until(
        lambda: client.batches.retrieve(made.id).status in ("completed", "failed"),
        "the batch did not end",
        60,
    )
    ended = client.batches.retrieve(made.id)
    assert ended.status == "completed", ended.errors
    files = [name for name in (ended.output_file_id, ended.error_file_id) if name]
    rows = [
        json.loads(line) for name in files for line in client.files.content(name).text.splitlines()
    ]
    return {row["custom_id"]: row["response"] for row in rows}


def test_thinking_can_be_switched_off_in_a_chat(stack: Stack) -> None:
    assert said(stack.client) == "hi assistant <think>"
    assert said(stack.client, extra_body={"chat_template_kwargs": THOUGHTLESS}) == "hi assistant"


def test_thinking_can_be_switched_off_in_lines_of_a_batch(stack: Stack) -> None:
    rows = batch(
        stack.client,
        [
            {"messages": hi()},
            {"messages": hi(), "chat_template_kwargs": THOUGHTLESS},
            {"messages": hi()},
        ],
    )
    told = [rows[str(n)]["body"]["choices"][0]["message"]["content"] for n in range(3)]
    assert told == ["hi assistant <think>", "hi assistant", "hi assistant <think>"]
    assert [rows[str(n)]["body"]["usage"]["prompt_tokens"] for n in range(3)] == [3, 2, 3]


def test_thinking_can_be_switched_off_for_a_job_and_on_again_for_an_item(stack: Stack) -> None:
    items = [
        {"messages": hi()},
        {"messages": hi(), "chat_template_kwargs": {"enable_thinking": True}},
    ]
    body = {"items": items, "chat_template_kwargs": THOUGHTLESS, "params": {"temperature": 0}}
    with Client(f"http://127.0.0.1:{stack.port}", stack.key) as native:
        job = native.submit(body)
        wait_until(lambda: native.job(job["id"])["status"] == "completed", "the job did not end")
        told = [row["outputs"][0]["text"] for row in native.items(job["id"])]
    assert told == ["hi assistant", "hi assistant <think>"]


@pytest.mark.parametrize(
    ("text", "why"), [("break", "TypeError"), ("endless", "did not end within")]
)
def test_a_chat_that_its_template_breaks_on_is_refused(stack: Stack, text: str, why: str) -> None:
    with pytest.raises(openai.BadRequestError, match=why) as caught:
        said(stack.client, messages=hi(text))
    assert (caught.value.code, caught.value.param) == ("chat_template_refused", "messages")


def test_a_chat_that_its_template_breaks_on_fails_its_own_line_of_a_batch(stack: Stack) -> None:
    texts = ["a", "break", "b", "endless", "endless", "c"]
    rows = batch(stack.client, [{"messages": hi(text)} for text in texts])
    assert [rows[str(n)]["status_code"] for n in range(6)] == [200, 400, 200, 400, 400, 200]
    assert rows["1"]["body"]["error"]["code"] == "chat_template_refused"
