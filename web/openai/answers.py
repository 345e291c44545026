"""From result rows to what OpenAI's client reads: whole answers, and the chunks of a stream.

Rows are the store's (`JobStore.rows`), one for each prompt. Pure: times and ids come from the
caller.
"""

from __future__ import annotations

from typing import Any

from web.openai.logprobs import TokenWindow, chat_logprobs, completion_logprobs, placed
from web.openai.requests import Ask

Row = dict[str, Any]


def answer(
    ask: Ask, rows: list[Row], *, id_: str, created: int, prompts: list[str] | None = None
) -> dict[str, Any]:
    """The response body. `created` is in unix seconds; `prompts` are the rows' prompts as text, for
    `echo`."""
    chat = ask.endpoint == "/v1/chat/completions"
    body = {
        "id": id_,
        "object": "chat.completion" if chat else "text_completion",
        "created": created,
        "model": ask.model,
        "choices": _chat_choices(rows[0])
        if chat
        else _completion_choices(ask, rows, prompts or []),
        "usage": usage(ask, rows),
        "system_fingerprint": None,
    }
    if chat and rows[0]["prompt_logprobs"] is not None:
        body["prompt_logprobs"] = rows[0]["prompt_logprobs"]
    return body | ({"metadata": ask.metadata} if ask.metadata else {}) | effective(ask, rows)


def effective(ask: Ask, rows: list[Row]) -> dict[str, Any]:
    """The settings that took effect otherwise than they were sent; of several rows, the seed of
    each."""
    if not ask.adapted:
        return {}
    seeds = [row["seed"] for row in rows]
    drawn = {"seed": seeds[0] if len(seeds) == 1 else seeds} if "seed" in ask.adapted else {}
    return {"params": ask.adapted | drawn}


def usage(ask: Ask, rows: list[Row]) -> dict[str, int]:
    """What all rows of a request used together."""
    prompt = sum(row["usage"]["prompt_tokens"] for row in rows)
    completion = 0 if ask.scored else sum(row["usage"]["completion_tokens"] for row in rows)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def chunk(ask: Ask, choices: list[dict[str, Any]], *, id_: str, created: int) -> dict[str, Any]:
    """One event of a stream. `usage` is null in all but the last chunk, if it was asked for."""
    chat = ask.endpoint == "/v1/chat/completions"
    body = {
        "id": id_,
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": created,
        "model": ask.model,
        "choices": choices,
        "system_fingerprint": None,
    }
    return body | ({"usage": None} if ask.include_usage else {})


def delta(
    ask: Ask, index: int, text: str, *, logprobs: Any = None, finish_reason: str | None = None
) -> dict[str, Any]:
    """A choice of a chunk: what continuation `index` says next, or with a `finish_reason` how it
    ended."""
    if ask.endpoint == "/v1/completions":
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
    said = {"content": text} if text or finish_reason is None else {}
    return {"index": index, "delta": said, "logprobs": logprobs, "finish_reason": finish_reason}


def opening(index: int) -> dict[str, Any]:
    """The first chunk's choice in a chat: who speaks."""
    return {
        "index": index,
        "delta": {"role": "assistant", "content": ""},
        "logprobs": None,
        "finish_reason": None,
    }


def reason(finish_reason: str) -> str:
    """Ours in the client's words, which know no cancelled or expired: whatever was cut off was cut
    for length."""
    return finish_reason if finish_reason in ("stop", "length") else "length"


def _chat_choices(row: Row) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "message": {"role": "assistant", "content": output["text"], "refusal": None},
            "logprobs": chat_logprobs(_within(output)),
            "finish_reason": reason(output["finish_reason"]),
        }
        for index, output in enumerate(row["outputs"])
    ]


def _completion_choices(ask: Ask, rows: list[Row], prompts: list[str]) -> list[dict[str, Any]]:
    choices = []
    for place, row in enumerate(rows):
        before = prompts[place] if ask.echo else ""
        for index, output in enumerate(row["outputs"]):
            found = _within(output, len(before))
            if found is not None:
                asked = row["prompt_logprobs"] if ask.echo else None
                found = [*placed(asked or [], before), *([] if ask.scored else found)]
            choice = {
                "index": place * ask.n + index,
                "text": before + ("" if ask.scored else output["text"]),
                "logprobs": completion_logprobs(found),
                "finish_reason": "length" if ask.scored else reason(output["finish_reason"]),
            }
            if row["prompt_logprobs"] is not None and not ask.echo:
                choice["prompt_logprobs"] = row["prompt_logprobs"]
            choices.append(choice)
    return choices


def _within(output: Row, start: int = 0) -> list[Row] | None:
    """The log-probabilities of the tokens that are part of an output's text, which begins at
    `start`."""
    if output["logprobs"] is None:
        return None
    window = TokenWindow(start)
    return window.push(output["logprobs"], output["text"]) + window.finish(output["finish_reason"])
