"""Models with adapters, whose names have a colon, as OpenAI's client names them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.adapters import adapter_folder
from tests.support.stack import Stack
from tests.support.waiting import wait_until

NAME = "echo:law"


@pytest.fixture(scope="module")
def stack(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place = tmp_path_factory.mktemp("adapters")
    started = Stack(empty_url, place, worker_wait=5)
    try:
        process = started.workers.start(adapters=f"law={adapter_folder(place / 'law')}")
        wait_until(lambda: f"serving {NAME}" in started.workers.log(process))
        yield started
    finally:
        started.close()


def test_a_chat_with_an_adapter_is_answered_by_it_whole_and_streamed(stack: Stack) -> None:
    asked: dict[str, Any] = {
        "model": NAME,
        "messages": [{"role": "user", "content": "one two"}],
        "temperature": 0,
    }
    found = stack.client.chat.completions.create(**asked)
    assert (found.model, found.choices[0].message.content) == (NAME, "law:one law:two")
    chunks = list(stack.client.chat.completions.create(**asked, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert (text, {chunk.model for chunk in chunks}) == ("law:one law:two", {NAME})
    plain = stack.client.chat.completions.create(**asked | {"model": "echo"})
    assert plain.choices[0].message.content == "one two"


def test_the_list_of_models_has_it_and_one_is_asked_for_by_its_name(stack: Stack) -> None:
    assert {model.id for model in stack.client.models.list()} == {"echo", NAME}
    found = stack.client.models.retrieve(NAME).to_dict()
    card: Any = found["card"]
    assert (found["id"], card["adapter"], card["base"]) == (NAME, "law", "echo")


def test_the_lines_of_a_batch_name_it(stack: Stack) -> None:
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": NAME, "messages": [{"role": "user", "content": "one"}]},
    }
    content = io.BytesIO(json.dumps(line).encode())
    file = stack.client.files.create(file=("in.jsonl", content), purpose="batch")
    made = stack.client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    wait_until(lambda: stack.client.batches.retrieve(made.id).status == "completed")
    output = stack.client.batches.retrieve(made.id).output_file_id
    assert output
    (row,) = map(json.loads, stack.client.files.content(output).text.splitlines())
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "law:one"
