"""Renders result rows as OpenAI's client reads them: whole answers, and the chunks of a stream.

Rows are the store's (`JobStore.rows`), one for each prompt. Pure: times and ids come from the
caller.
"""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from common.result_row import RowOutput, RowResult
from web.openai.answer_options import CHAT, AnswerOptions
from web.openai.chat_answers import answer_message, finish_reason
from web.openai.completion_schemas import (
    ChatChoice,
    ChatCompletion,
    Chunk,
    ChunkChoice,
    Completion,
    CompletionChoice,
    CompletionUsage,
    Delta,
    FinishReason,
)
from web.openai.logprobs import (
    LogprobAligner,
    PlacedLogprob,
    chat_logprobs,
    completion_logprobs,
    of_answer,
    prompt_logprobs,
)


def render_completion(
    options: AnswerOptions,
    rows: list[RowResult],
    *,
    id_: str,
    created: int,
    prompts: list[str] | None = None,
) -> ChatCompletion | Completion:
    """The response body. `created` is in unix seconds; `prompts` are the prompts as text, for
    `echo`."""
    body: ChatCompletion | Completion
    if options.endpoint == CHAT:
        body = {
            "id": id_,
            "object": "chat.completion",
            "created": created,
            "model": options.model,
            "choices": _chat_choices(options, rows[0], id_),
            "usage": total_usage(options, rows),
            "system_fingerprint": None,
        }
        if (logprobs := rows[0]["prompt_logprobs"]) is not None:
            body["prompt_logprobs"] = logprobs
        if options.metadata:
            body["metadata"] = options.metadata
    else:
        body = {
            "id": id_,
            "object": "text_completion",
            "created": created,
            "model": options.model,
            "choices": _completion_choices(options, rows, prompts or []),
            "usage": total_usage(options, rows),
            "system_fingerprint": None,
        }
    if params := adapted_params(options, rows):
        body["params"] = params
    return body


def adapted_params(options: AnswerOptions, rows: list[RowResult]) -> dict[str, JsonValue]:
    """The parameters that took effect with another value than was sent; with several rows, the seed
    of each."""
    if "seed" not in options.adapted:
        return options.adapted
    seeds: list[JsonValue] = [row["seed"] for row in rows]
    return options.adapted | {"seed": seeds[0] if len(seeds) == 1 else seeds}


def usage(prompt_tokens: int, completion_tokens: int) -> CompletionUsage:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def total_usage(options: AnswerOptions, rows: list[RowResult]) -> CompletionUsage:
    """The tokens of all rows of a request together."""
    completion = sum(row["usage"]["completion_tokens"] for row in rows)
    found = usage(
        sum(row["usage"]["prompt_tokens"] for row in rows), 0 if options.scored else completion
    )
    outputs = [output for row in rows for output in row["outputs"]]
    thoughts = [each["reasoning_tokens"] for each in outputs if "reasoning_tokens" in each]
    if thoughts:
        found["completion_tokens_details"] = {"reasoning_tokens": sum(thoughts)}
    return found


def render_chunk(options: AnswerOptions, choices: list[Any], *, id_: str, created: int) -> Chunk:
    """One event of a stream, with `ChunkChoice`s of its endpoint. If the usage was requested, it is
    null in all chunks but the last."""
    chunk: Chunk
    if options.endpoint == CHAT:
        chunk = {
            "id": id_,
            "object": "chat.completion.chunk",
            "created": created,
            "model": options.model,
            "choices": choices,
            "system_fingerprint": None,
        }
    else:
        chunk = {
            "id": id_,
            "object": "text_completion",
            "created": created,
            "model": options.model,
            "choices": choices,
            "system_fingerprint": None,
        }
    if options.include_usage:
        chunk["usage"] = None
    return chunk


def chunk_choice(
    index: int,
    said: str | Delta,
    *,
    logprobs: list[PlacedLogprob] | None = None,
    finish_reason: FinishReason | None = None,
) -> ChunkChoice:
    """The choice of a chunk: what is next of continuation `index`, text of a completion or a delta
    of a chat; with a `finish_reason` its end."""
    if isinstance(said, str):
        return {
            "index": index,
            "text": said,
            "logprobs": completion_logprobs(logprobs),
            "finish_reason": finish_reason,
        }
    return {
        "index": index,
        "delta": said,
        "logprobs": chat_logprobs(logprobs),
        "finish_reason": finish_reason,
    }


def _chat_choices(options: AnswerOptions, row: RowResult, id_: str) -> list[ChatChoice]:
    choices: list[ChatChoice] = []
    for index, output in enumerate(row["outputs"]):
        message, reason = answer_message(options, output, id_, index)
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": chat_logprobs(_text_logprobs(output)),
                "finish_reason": reason,
            }
        )
    return choices


def _completion_choices(
    options: AnswerOptions, rows: list[RowResult], prompts: list[str]
) -> list[CompletionChoice]:
    choices: list[CompletionChoice] = []
    for place, row in enumerate(rows):
        before = prompts[place] if options.echo else ""
        for index, output in enumerate(row["outputs"]):
            found = _text_logprobs(output, len(before))
            if found is not None:
                of_prompt = row["prompt_logprobs"] if options.echo else None
                found = [
                    *prompt_logprobs(of_prompt or [], before),
                    *([] if options.scored else found),
                ]
            choice: CompletionChoice = {
                "index": place * options.n + index,
                "text": before + ("" if options.scored else output["text"]),
                "logprobs": completion_logprobs(found),
                "finish_reason": "length"
                if options.scored
                else finish_reason(output["finish_reason"]),
            }
            if row["prompt_logprobs"] is not None and not options.echo:
                choice["prompt_logprobs"] = row["prompt_logprobs"]
            choices.append(choice)
    return choices


def _text_logprobs(output: RowOutput, start: int = 0) -> list[PlacedLogprob] | None:
    """The log-probabilities of the tokens that are part of an output's text, which begins at
    character `start` of the answer."""
    if output["logprobs"] is None:
        return None
    aligner = LogprobAligner(start)
    return aligner.push(of_answer(output), output["text"]) + aligner.finish(output["finish_reason"])
