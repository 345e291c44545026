"""Thoughts over HTTP from a worker process whose model has weights and a template that thinks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from openai import OpenAI

from common.store.fleet import Fleet
from tests.support.stack import Stack
from tests.support.tiny_folder import tiny_folder
from tests.support.waiting import wait_until
from tests.unit.engine.guided import PERSON, json_model

MOST = 6  # tokens of thoughts


@pytest.fixture(scope="module")
def client(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    folder = tmp_path_factory.mktemp("thoughts")
    started = Stack(empty_url, folder, worker_wait=20)
    try:
        model = tiny_folder(folder / "tiny", json_model())
        worker = started.workers.start(wait=False, model=model, device="cpu", dtype="float32")
        wait_until(Fleet(started.redis).workers, lambda: started.workers.log(worker), 100)
        yield started.client
    finally:
        started.close()


def ask(**fields: Any) -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    asked: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "response_format": form,
        "max_tokens": 120,
        "seed": 3,
        "extra_body": {"thinking": {"max_tokens": MOST}},
    }
    return asked | fields


def test_thoughts_are_told_apart_and_counted(client: OpenAI) -> None:
    answer = client.chat.completions.create(**ask())
    message: Any = answer.choices[0].message
    jsonschema_rs.validate(PERSON, json.loads(message.content))
    assert message.reasoning_content
    assert answer.usage and answer.usage.completion_tokens_details
    counted = answer.usage.completion_tokens_details.reasoning_tokens or 0
    assert 2 <= counted <= MOST + 1 < answer.usage.completion_tokens  # with the mark at their end


def test_a_stream_has_the_same_thoughts_before_the_same_text(client: OpenAI) -> None:
    whole = client.chat.completions.create(**ask())
    message: Any = whole.choices[0].message
    chunks = list(
        client.chat.completions.create(
            **ask(stream=True, stream_options={"include_usage": True}),
        )
    )
    deltas: list[Any] = [choice.delta for chunk in chunks for choice in chunk.choices]
    thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    texts = [delta.content or "" for delta in deltas]
    assert "".join(thoughts) == message.reasoning_content
    assert "".join(texts) == message.content
    last_thought = max(place for place, thought in enumerate(thoughts) if thought)
    assert not any(texts[:last_thought]), "text before the end of the thoughts"
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_left_out_where_they_are_not_wanted(client: OpenAI, stream: bool) -> None:
    extra = {"thinking": {"max_tokens": MOST}, "include_reasoning": False}
    answer: Any = client.chat.completions.create(**ask(extra_body=extra, stream=stream))
    parts = [chunk.choices[0].delta for chunk in answer] if stream else [answer.choices[0].message]
    assert not any(getattr(part, "reasoning_content", None) for part in parts)
    jsonschema_rs.validate(PERSON, json.loads("".join(part.content or "" for part in parts)))
