"""`/v1/chat/completions` and `/v1/completions`, whole and streaming."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NoReturn

from flask import Blueprint, Response

from common.errors import PromptmillError
from common.store.packing import json_line
from common.tokenizer import SHORT
from web.auth import grant, needs_tenant
from web.follow.interactive import InteractiveRequest
from web.intake.counting import in_a_thread
from web.intake.drafts import from_items
from web.intake.json_lists import Entries
from web.openai import rendering
from web.openai.answer_options import CHAT, COMPLETIONS, Endpoint
from web.openai.chat_stream import stream
from web.openai.completion_schemas import ChatChunk, ChatCompletion, Completion, CompletionChunk
from web.openai.errors import OPENAI_SHAPE, ErrorBody, row_error
from web.openai.read_request import read_request
from web.openai.requests import (
    MOST_PROMPTS,
    ChatRequest,
    CompletionRequest,
    default_max_tokens,
)
from web.openai.schemas import add_ignored_header
from web.services.services import Services, services
from web.wire import sse
from web.wire.bodies import json_body
from web.wire.client import client_gone, idempotency_key
from web.wire.description import described
from web.wire.error_answers import answer_errors

chat = Blueprint("chat", __name__)
# Other paths under /v1 are requested by OpenAI's clients, too.
answer_errors(chat, OPENAI_SHAPE, "/v1")

ERRORS = (404, 429, 504)  # no such model; the queue is full; timeout
MOST_MESSAGES = 65_536  # of one chat
# The long list of each body, and how many entries it may have.
LISTS: dict[Endpoint, dict[str, int]] = {
    CHAT: {"messages": MOST_MESSAGES},
    COMPLETIONS: {"prompt": MOST_PROMPTS},
}


class RequestFailed(PromptmillError):
    """The job of the request failed."""


@chat.post("/v1/chat/completions")
@described(
    "A chat completion, as OpenAI's API has it",
    ChatCompletion,
    body=ChatRequest,
    events={"": ChatChunk, "[DONE]": None},
    headers=("Idempotency-Key",),
    errors=ERRORS,
)
@needs_tenant
def chat_completions(_tenant: str) -> Response:
    return _complete(CHAT, "chatcmpl-")


@chat.post("/v1/completions")
@described(
    "Completions, as OpenAI's API has it",
    Completion,
    body=CompletionRequest,
    events={"": CompletionChunk, "[DONE]": None},
    headers=("Idempotency-Key",),
    errors=ERRORS,
)
@needs_tenant
def completions(_tenant: str) -> Response:
    return _complete(COMPLETIONS, "cmpl-")


def _complete(endpoint: Endpoint, prefix: str) -> Response:
    lenient = services().settings.unknown_fields != "refuse"
    body = json_body(LISTS[endpoint])
    for name in LISTS[endpoint]:
        if isinstance(entries := body.get(name), Entries):
            body[name] = list(entries)
    asked = read_request(endpoint, body, lenient=lenient)
    prompts = _prompts(services(), asked)
    items = asked.items()
    if asked.stream:
        items = [{**item, "stream": True} for item in items]
    live = InteractiveRequest(
        services(),
        grant(),
        asked.model,
        [replace(draft, names=asked.names) for draft in from_items(items)],
        default_max_tokens=default_max_tokens(endpoint),
        hung_up=client_gone(),
        idempotency_key=idempotency_key(),
    )
    id_, created = prefix + live.job_id.removeprefix("job_"), int(time.time())
    if asked.stream:
        pieces = stream(services(), live, asked.answer_options, prompts, id_=id_, created=created)
        return add_ignored_header(sse.answer(pieces, live.close), asked.ignored)
    with live:
        while not live.over:
            live.wait()
        rows = live.rows()
    for row in rows:
        if failed := row_error(row, chat=endpoint == CHAT):
            _raise(*failed)

    def render() -> ChatCompletion | Completion:
        return rendering.render_completion(
            asked.answer_options, rows, id_=id_, created=created, prompts=prompts
        )

    size = sum(len(output["text"]) for row in rows for output in row["outputs"])
    # Calls are read out of it, character by character.
    is_slow = asked.answer_options.tools and size > SHORT
    answer = in_a_thread(size, render) if is_slow else render()
    response = Response(json_line(answer), content_type="application/json")
    return add_ignored_header(response, asked.ignored)


def _raise(status: int, body: ErrorBody) -> NoReturn:
    error = RequestFailed(
        body["error"]["message"], code=body["error"]["code"], field=body["error"]["param"]
    )
    error.status = status
    raise error


def _prompts(services: Services, asked: ChatRequest | CompletionRequest) -> list[str]:
    """The prompts as text, if the answer begins with them (`echo`)."""
    if not asked.answer_options.echo:
        return []
    tokenizer = services.models.choose(asked.model).tokenizer
    found = []
    for item in asked.items():
        ids = item.get("prompt_ids")
        found.append(item["prompt"] if ids is None else tokenizer.decode(ids) if tokenizer else "")
    return found
