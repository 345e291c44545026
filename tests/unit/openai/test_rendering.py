"""Answers are read by the types of OpenAI's client, and are as `/openapi.json` describes them."""

from __future__ import annotations

from typing import Any

from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from common.result_row import Row
from web.openai import completion_schemas as schemas
from web.openai import rendering
from web.openai.answer_options import AnswerOptions
from web.openai.errors import error_body, row_error
from web.openai.logprobs import completion_logprobs, prompt_logprobs


def token(text: str, logprob: float | None = -0.5, *top: tuple[str, float]) -> Any:
    found = [{"token": t, "token_id": 1, "logprob": p} for t, p in top]
    return {"token": text, "token_id": 0, "logprob": logprob, "top": found}


def row(*texts: str, **fields: Any) -> Any:
    outputs = [
        {"text": text, "finish_reason": "stop", "token_count": 2, "logprobs": None}
        for text in texts
    ]
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2 * len(texts),
        "total_tokens": 3 + 2 * len(texts),
    }
    return {
        "status": "succeeded",
        "outputs": outputs,
        "usage": usage,
        "error": None,
        "prompt_logprobs": None,
    } | fields


def complete(options: AnswerOptions, *rows: Row, prompts: list[str] | None = None) -> Completion:
    # As the client does it, whose types know no null for a first token.
    return Completion.construct(
        **rendering.render_completion(options, list(rows), id_="cmpl-1", created=5, prompts=prompts)
    )


def test_a_chat_answer_has_a_choice_for_each_continuation() -> None:
    body = rendering.render_completion(
        AnswerOptions("/v1/chat/completions", "m", 2), [row("a", "b")], id_="chatcmpl-1", created=5
    )
    found = ChatCompletion.model_validate(body, strict=True)
    assert [choice.message.content for choice in found.choices] == ["a", "b"]
    assert [choice.index for choice in found.choices] == [0, 1]
    assert found.usage and found.usage.total_tokens == 7


def test_choices_of_several_prompts_are_numbered_on() -> None:
    found = complete(AnswerOptions("/v1/completions", "m", 2), row("a", "b"), row("c", "d"))
    assert [(choice.index, choice.text) for choice in found.choices] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
        (3, "d"),
    ]
    assert found.usage and (found.usage.prompt_tokens, found.usage.completion_tokens) == (6, 8)


def test_echo_puts_the_prompt_and_its_log_probabilities_first() -> None:
    said = row("cd", prompt_logprobs=[token("a", None), token("b", -1.0, ("x", -0.1))])
    said["outputs"][0]["logprobs"] = [token("c", -0.2, ("c", -0.2)), token("d", -0.3, ("e", -0.1))]
    (choice,) = complete(
        AnswerOptions("/v1/completions", "m", echo=True), said, prompts=["ab"]
    ).choices
    assert choice.text == "abcd" and choice.logprobs
    assert choice.logprobs.tokens == ["a", "b", "c", "d"]
    assert choice.logprobs.text_offset == [0, 1, 2, 3]


def test_the_likeliest_is_told_from_the_token_s_own() -> None:
    """What a harness does to see whether an answer was greedy."""
    said = [token("a", -0.2, ("a", -0.2)), token("b", -0.9, ("c", -0.1)), token("d", None)]
    told = completion_logprobs(prompt_logprobs(said, "abd"))
    assert told and told["top_logprobs"] == [{"a": -0.2}, {"c": -0.1, "b": -0.9}, None]


def test_scoring_shows_the_prompt_alone() -> None:
    said = row("z", prompt_logprobs=[token("a", None), token("b", -1.0)])
    said["outputs"][0]["logprobs"] = [token("z")]
    found = complete(
        AnswerOptions("/v1/completions", "m", echo=True, scored=True), said, prompts=["ab"]
    )
    assert found.choices[0].text == "ab"
    assert found.choices[0].logprobs and found.choices[0].logprobs.tokens == ["a", "b"]
    assert found.usage and found.usage.completion_tokens == 0


def test_chunks_are_the_client_s() -> None:
    options = AnswerOptions("/v1/chat/completions", "m", include_usage=True)
    choices = [
        rendering.chunk_choice(0, {"role": "assistant", "content": ""}),
        rendering.chunk_choice(0, {"content": "hi"}),
        rendering.chunk_choice(0, {}, finish_reason="stop"),
    ]
    for choice in choices:
        body = rendering.render_chunk(options, [choice], id_="chatcmpl-1", created=5)
        assert ChatCompletionChunk.model_validate(body, strict=True).choices[0].index == 0
        assert body["usage"] is None


def test_an_error_has_its_four_keys_and_names_the_field_as_it_was_sent() -> None:
    error = error_body(422, "out_of_range", "too much", "items.0.params.top_p")["error"]
    assert error == {
        "message": "too much",
        "type": "invalid_request_error",
        "param": "top_p",
        "code": "out_of_range",
    }
    assert error_body(503, "unavailable", "away")["error"]["param"] is None
    assert error_body(500, "x", "y")["error"]["type"] == "server_error"


def test_a_failed_item_is_an_error_and_a_cut_one_an_answer() -> None:
    failed = row_error(
        row(status="failed", error={"code": "engine_error", "message": "it broke"}), chat=True
    )
    assert failed and failed[0] == 500 and failed[1]["error"]["code"] == "engine_error"
    assert row_error(row("so far", status="cancelled"), chat=True) is None
    assert row_error(row(status="expired"), chat=True)[0] == 503  # type: ignore[index]


def test_answers_are_what_the_specification_says() -> None:
    said = row(
        "a",
        prompt_logprobs=[token("p", None)],
        outputs=[
            {
                "text": "a",
                "finish_reason": "stop",
                "token_count": 1,
                "logprobs": [token("a", -0.1, ("a", -0.1))],
            }
        ],
    )
    chat, text = (
        AnswerOptions("/v1/chat/completions", "m", metadata={"a": 1}),
        AnswerOptions("/v1/completions", "m", include_usage=True),
    )
    TypeAdapter(schemas.ChatCompletion).validate_python(
        rendering.render_completion(chat, [said], id_="1", created=5), strict=True
    )
    TypeAdapter(schemas.Completion).validate_python(
        rendering.render_completion(text, [said], id_="1", created=5), strict=True
    )
    choices = [
        rendering.chunk_choice(0, {"role": "assistant", "content": ""}),
        rendering.chunk_choice(0, {"content": "a"}),
        rendering.chunk_choice(0, {}, finish_reason="stop"),
    ]
    TypeAdapter(schemas.ChatChunk).validate_python(
        rendering.render_chunk(chat, choices, id_="1", created=5), strict=True
    )
    chunk = rendering.render_chunk(text, [rendering.chunk_choice(0, "a")], id_="1", created=5)
    TypeAdapter(schemas.CompletionChunk).validate_python(
        chunk | {"usage": rendering.total_usage(text, [said])}, strict=True
    )
