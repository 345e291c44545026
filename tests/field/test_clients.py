"""Requests with exactly the fields that clients send (docs/clients.md has their versions), and what
comes back."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.field.client_fields import CHAT, HI, REFUSED, TAKEN, TEXT


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
