"""Rows as users send them: long ones alone, numbers past every bound, text in other scripts with
log-probabilities."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from cli.client import Client, RequestRefused
from cli.progress import show_progress
from common.tokenizer import JsonTokenizer
from tests.field.byte_model import CONTEXT, END

JAPANESE = "日本語 hello world"


def submitted(client: Client, prompts: list[str], **params: Any) -> list[dict[str, Any]]:
    body = {
        "model": "bytes",
        "prompts": prompts,
        "params": {"temperature": 0, "ignore_eos": True, **params},
    }
    job = show_progress(client, client.submit(body)["id"])
    assert job["status"] == "completed"
    return list(client.items(job["id"]))


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 2048, 2049, CONTEXT - 1])
def test_a_lone_prompt_of_any_length_runs(client: Client, length: int) -> None:
    (row,) = submitted(client, ["x" * length], max_tokens=1)
    assert (row["status"], row["usage"]["prompt_tokens"], row["error"]) == (
        "succeeded",
        length,
        None,
    )


def test_one_token_past_the_context_is_refused(client: Client) -> None:
    with pytest.raises(RequestRefused, match="2560"):
        submitted(client, ["x" * CONTEXT], max_tokens=1)


def test_long_prompts_run_together(client: Client) -> None:
    rows = submitted(client, [f"{n}" + "x" * (1020 + 150 * n) for n in range(8)], max_tokens=4)
    assert [row["status"] for row in rows] == ["succeeded"] * 8


@pytest.mark.parametrize(
    "params",
    [
        {"top_k": 10**400},
        {"seed": 10**400},
        {"logit_bias": {"1" + "0" * 400: 1}},
        {"stop_token_ids": [10**400]},
    ],
)
def test_numbers_past_every_bound_are_refused_where_they_enter(
    client: Client, params: dict[str, Any]
) -> None:
    with pytest.raises(RequestRefused):
        submitted(client, ["x"], **params)


def test_limits_and_places_past_every_bound_are_refused(client: Client) -> None:
    job = client.submit({"model": "bytes", "prompts": ["x"], "params": {"max_tokens": 1}})["id"]
    for path in (f"/v1/jobs/{job}/items?after={10**30}", f"/v1/jobs/{job}/events?after={10**30}"):
        with pytest.raises(RequestRefused, match="after"):
            client._call("GET", path)
    with pytest.raises(RequestRefused):
        client.submit({"model": "bytes", "prompts": ["x"], "limits": {"tokens": 10**400}})


def test_the_tokens_of_a_text_are_told_byte_by_byte(openai_client: openai.OpenAI) -> None:
    told = openai_client.completions.create(
        model="bytes", prompt=JAPANESE, max_tokens=1, echo=True, logprobs=2, temperature=0
    )
    found = told.choices[0].logprobs
    assert found and found.tokens and found.text_offset
    assert found.tokens[:3] == ["bytes:\\xe6", "bytes:\\x97", "bytes:\\xa5"]
    assert found.text_offset[: len(JAPANESE.encode())] == [0] * 3 + [1] * 3 + [2] * 3 + list(
        range(3, 15)
    )


@pytest.mark.parametrize("stream", [False, True])
def test_the_bytes_of_an_answers_tokens_are_its_text(
    openai_client: openai.OpenAI, byte_model: Any, stream: bool
) -> None:
    tokenizer = JsonTokenizer((byte_model / "tokenizer.json").read_bytes())
    wanted = dict.fromkeys(tokenizer.encode("日é"), 60.0)  # random weights, but these bytes
    asked: dict[str, Any] = {
        "model": "bytes",
        "messages": [{"role": "user", "content": "say it"}],
        "max_tokens": 40,
        "temperature": 1,
        "logprobs": True,
        "logit_bias": {str(token): bias for token, bias in wanted.items()},
    }
    for seed in range(3):
        if stream:
            chunks = list(openai_client.chat.completions.create(**asked, seed=seed, stream=True))
            choices = [choice for chunk in chunks for choice in chunk.choices]
            text = "".join(choice.delta.content or "" for choice in choices)
            found = [
                each
                for choice in choices
                if choice.logprobs
                for each in choice.logprobs.content or []
            ]
        else:
            (whole,) = openai_client.chat.completions.create(**asked, seed=seed).choices
            text, found = (
                whole.message.content or "",
                (whole.logprobs and whole.logprobs.content) or [],
            )
        assert found and all(each.token and each.bytes for each in found)
        assert (
            bytes(byte for each in found for byte in each.bytes or [])
            .decode(errors="replace")
            .startswith(text)
        )


def test_a_special_token_named_in_stop_ends_the_text(openai_client: openai.OpenAI) -> None:
    found = openai_client.completions.create(
        model="bytes",
        prompt="a",
        max_tokens=30,
        stop=[END],
        logit_bias={"256": 100},
        extra_body={"ignore_eos": True},
    )
    assert (found.choices[0].text, found.choices[0].finish_reason) == ("", "stop")
    assert found.usage and found.usage.completion_tokens == 1
