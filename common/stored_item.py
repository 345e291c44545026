"""An item and its result as the store keeps them.

The web tier writes the item, a worker reads it and writes the result, and the web tier shows both.
A new field of an item needs code in `worker/item_reader.py`; workers of an older version refuse
items that have it.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from common.errors import ErrorDict
from common.generation import FinishReason


class StoredItem(TypedDict, total=False):
    """One prompt of a job. It has one of `prompt`, `prompt_ids` and `messages`, or `refused`."""

    custom_id: str
    prompt: str
    prompt_ids: list[int]
    messages: list[dict[str, str]]
    params: dict[str, Any]  # the item's own; the job's are below them
    chat_template_kwargs: dict[str, Any]
    stream: bool  # its tokens are published while they are generated
    metadata: dict[str, Any]
    refused: ErrorDict  # why it cannot run: the worker hands it in as failed
    ask: dict[str, Any]  # what the request said of its answer; read by the dialect that makes it


ITEM_FIELDS = frozenset(StoredItem.__annotations__)


class StoredToken(TypedDict):
    """A token's log-probability. `bytes` is there if they are not those of `token`, and `top` has
    the likeliest alternatives, without `top` of their own."""

    token: str
    token_id: int
    bytes: NotRequired[list[int]]
    logprob: float | None
    top: NotRequired[list[StoredToken]]


class StoredOutput(TypedDict):
    """One continuation."""

    text: str
    finish_reason: FinishReason
    token_count: int
    logprobs: list[StoredToken] | None


class StoredResult(TypedDict):
    """What a worker stores for an item that has ended."""

    outputs: list[StoredOutput]
    prompt_logprobs: list[StoredToken] | None
    usage: dict[str, int]  # prompt_tokens, completion_tokens, total_tokens
    error: ErrorDict | None
    seed: int
    attempts: int
    queued_s: float
    run_s: float
    worker: str  # host and process id
