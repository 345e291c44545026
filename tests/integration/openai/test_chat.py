"""Chat completions and completions through the official client, plain and streaming."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from common.store.metrics import SUM, totals
from common.tokenizer import WordTokenizer
from tests.support.stack import DELAY, Stack
from tests.support.waiting import wait_until

WORDS = "one two three four"
HI: Any = [{"role": "user", "content": WORDS}]
LONG = " ".join(f"w{n}" for n in range(500))  # ten seconds


def chat(client: OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "echo", "messages": HI, "temperature": 0, **fields}
    )


def text_of(chunks: Any) -> tuple[dict[int, str], dict[int, str]]:
    """What each choice said, and why it ended."""
    said: dict[int, str] = {}
    ended: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            text = choice.text if hasattr(choice, "text") else choice.delta.content
            said[choice.index] = said.get(choice.index, "") + (text or "")
            if choice.finish_reason:
                assert choice.index not in ended, "a choice ends once"
                ended[choice.index] = choice.finish_reason
    return said, ended


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").object == "model"


def test_a_chat_is_answered_with_its_usage(client: OpenAI) -> None:
    found = chat(client)
    assert (found.object, found.model) == ("chat.completion", "echo")
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (WORDS, "stop")
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (
        4,
        4,
        8,
    )


def test_decoding_settings_take_effect(client: OpenAI) -> None:
    found = chat(client, n=3, stop="three", max_tokens=10)
    assert [choice.message.content for choice in found.choices] == ["one two "] * 3
    cut = chat(client, max_completion_tokens=2, extra_body={"top_k": 5, "ignore_eos": True})
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("one two", "length")


def test_equal_seeds_say_equal_things(client: OpenAI) -> None:
    first, second = (
        chat(client, seed=5, temperature=1).choices[0].message.content for _ in range(2)
    )
    assert first == second


def test_log_probabilities_come_with_each_token(client: OpenAI) -> None:
    found = chat(client, logprobs=True, top_logprobs=1).choices[0].logprobs.content
    assert [(each.token, each.logprob, len(each.top_logprobs)) for each in found] == [
        ("one", 0.0, 1), (" two", 0.0, 1), (" three", 0.0, 1), (" four", 0.0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a b", ["a b"]),
        (["a b", "c"], ["a b", "c"]),
        ([7, 8], ["7 8"]),
        ([[7, 8], [9]], ["7 8", "9"]),
    ],
)
def test_a_prompt_may_be_text_or_token_ids_or_lists_of_them(
    client: OpenAI, prompt: Any, texts: list[str]
) -> None:
    found = client.completions.create(model="echo", prompt=prompt, temperature=0)
    assert [choice.text for choice in found.choices] == texts
    assert [choice.index for choice in found.choices] == list(range(len(texts)))


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_a_harness_can_score_token_ids(client: OpenAI, max_tokens: int) -> None:
    ids = WordTokenizer().encode("a b")
    found = client.completions.create(
        model="echo",
        prompt=[[i % 1000 for i in ids], [3]],
        max_tokens=max_tokens,
        echo=True,
        logprobs=1,
        temperature=0,
    )
    told = found.choices[0].logprobs
    assert told and told.tokens and len(told.tokens) == 2 + max_tokens
    assert told.token_logprobs == [None, *[0.0] * (1 + max_tokens)]
    assert found.choices[0].text == "".join(told.tokens)


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    whole = chat(client, n=2)
    chunks = list(chat(client, n=2, stream=True, stream_options={"include_usage": True}))
    said, ended = text_of(chunks)
    assert said == {choice.index: choice.message.content for choice in whole.choices}
    assert ended == {0: "stop", 1: "stop"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_of_several_prompts_numbers_its_choices(client: OpenAI) -> None:
    said, ended = text_of(
        client.completions.create(
            model="echo", prompt=["a b", "c d"], stream=True, echo=True, temperature=0
        )
    )
    assert said == {0: "a ba b", 1: "c dc d"}
    assert ended == {0: "stop", 1: "stop"}


def test_a_stream_tells_log_probabilities_of_every_token_once(client: OpenAI) -> None:
    chunks = chat(client, stream=True, logprobs=True)
    found = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    told = [each.token for logprobs in found for each in logprobs.content]
    assert told == ["one", " two", " three", " four"]


def test_tokens_are_told_as_they_come(client: OpenAI) -> None:
    began = time.monotonic()
    moments = [
        time.monotonic() - began
        for _ in chat(client, messages=[{"role": "user", "content": "a " * 40}], stream=True)
    ]
    assert moments[-1] > 40 * DELAY
    assert sum(moment < 20 * DELAY for moment in moments[2:]) > 5, (
        "the first half came in the first half"
    )


def test_many_streams_at_once_do_not_mix(client: OpenAI) -> None:
    def one(number: int) -> str:
        words = " ".join(f"s{number}w{n}" for n in range(20))
        said, _ = text_of(chat(client, messages=[{"role": "user", "content": words}], stream=True))
        assert said == {0: words}
        return words

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(one, range(32)))) == 32


def test_an_interactive_request_is_in_no_list_of_jobs(stack: Stack) -> None:
    chat(stack.client)
    assert stack.redis.zcard("pm:tenant:acme:jobs") == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_slot(stack: Stack, stream: bool) -> None:
    long: Any = [{"role": "user", "content": LONG}]
    client = stack.client_with(stack.key, timeout=0.5)
    if stream:
        answer = chat(client, messages=long, stream=True)
        next(iter(answer))
        wait_until(lambda: stack.held() == 1, "it did not start")
        answer.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            chat(client, messages=long)
    began = time.monotonic()
    wait_until(lambda: stack.held() == 0, "it is still running", limit=5)
    assert time.monotonic() - began < 2


def test_errors_are_the_client_s_own_classes(stack: Stack) -> None:
    client = stack.client
    failing: Any = [{"role": "user", "content": "qqq"}]
    cases: list[tuple[type[openai.APIStatusError], str, Any]] = [
        (openai.AuthenticationError, "unauthorized", lambda: chat(stack.client_with("pm_wrong"))),
        (openai.NotFoundError, "model_not_found", lambda: chat(client, model="gpt-9")),
        (openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("gpt-9")),
        (openai.BadRequestError, "out_of_range", lambda: chat(client, top_p=7)),
        (
            openai.BadRequestError,
            "invalid_value",
            lambda: chat(client, tools=[{"type": "custom"}]),
        ),
        (openai.BadRequestError, "context_length_exceeded", lambda: chat(client, max_tokens=9000)),
        (openai.InternalServerError, "engine_error", lambda: chat(client, messages=failing)),
        (
            openai.RateLimitError,
            "too_many_queued",
            lambda: client.completions.create(model="echo", prompt=["a"] * 60),
        ),
    ]
    for kind, code, call in cases:
        with pytest.raises(kind) as raised:
            call()
        body: Any = raised.value.body
        assert body.keys() == {"message", "type", "param", "code"}
        assert body["code"] == code
        assert raised.value.request_id and raised.value.request_id.startswith("req_")


def test_unknown_fields_are_refused_online_too_where_that_is_chosen(
    empty_url: str, tmp_path: Path
) -> None:
    strict = Stack(empty_url, tmp_path, unknown_fields="refuse")
    try:
        with pytest.raises(openai.BadRequestError, match="cache_prompt is not known"):
            chat(strict.client, extra_body={"cache_prompt": True})
    finally:
        strict.close()


def test_a_refused_field_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, response_format={"type": "json_object"})
    assert raised.value.param == "response_format"


def test_what_is_worth_another_try_says_when(client: OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        client.completions.create(model="echo", prompt=["a"] * 60)
    assert int(raised.value.response.headers["retry-after"]) > 0
    with pytest.raises(openai.InternalServerError) as failed:
        chat(client, messages=[{"role": "user", "content": "qqq"}])
    assert failed.value.response.headers["x-should-retry"] == "false"


def test_a_failure_in_a_stream_is_raised(client: OpenAI) -> None:
    with pytest.raises(openai.APIError, match="qqq"):
        list(chat(client, messages=[{"role": "user", "content": "qqq"}], stream=True))


def test_an_idempotency_key_is_answered_with_the_same_completion(client: OpenAI) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = chat(client, extra_headers=key), chat(client, extra_headers=key)
    assert first.id == second.id and first.choices == second.choices
    with pytest.raises(openai.UnprocessableEntityError, match="other content"):
        chat(client, extra_headers=key, max_tokens=3)


def test_first_tokens_and_waits_are_measured_across_processes(client: OpenAI, stack: Stack) -> None:
    list(chat(client, stream=True))
    names = ("time_to_first_token_seconds", "queue_wait_seconds")

    def measured() -> bool:
        """The worker tells with its heartbeat, the web process when it is asked or within a
        second."""
        found = {parts[0] for parts in totals(stack.redis)}
        return found >= {*names, "requests", "items", "prompt_tokens", "generated_tokens"}

    wait_until(measured, "no process told what it measured")
    took = totals(stack.redis)["time_to_first_token_seconds", "echo", SUM] / 1e6
    assert 0 < took < 600  # of all streams here
