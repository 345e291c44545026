"""An item as the store keeps it; its result is in `common/result_row.py`.

The web tier writes items, workers read them. A new field needs code in `worker/item_reader.py`;
workers of an older version refuse items that have it.
"""

from __future__ import annotations

from typing import Any, TypedDict

from common.errors import ErrorDict


class StoredItem(TypedDict, total=False):
    """One prompt of a job. It has one of `prompt`, `prompt_ids`, `messages` and `vars`, or
    `refused`."""

    custom_id: str
    prompt: str
    prompt_ids: list[int]
    # Each has a `role` and, but for those that only call functions, `content`; an assistant's
    # `tool_calls` and a tool's `tool_call_id` as OpenAI's clients send them.
    messages: list[dict[str, Any]]
    vars: dict[str, Any]  # of the job's template; those it does not name are in `SideItem`
    continuations: list[str]  # texts that are scored behind the prompt; none is generated then
    truncated_tokens: int  # tokens that truncation takes away, where it takes any
    # Its texts as they are cleaned and cut, by name, where it took long to make them: workers use
    # these in place of making them again.
    made: dict[str, str]
    # Its prompt is cleaned or cut as the job says: workers of schema 3 and before, which would use
    # it as it is, refuse the item.
    prepared: bool
    params: dict[str, Any]  # the item's own; the job's are below them
    tools: dict[str, Any]  # a `ToolSet`: the functions that the answer may call
    chat_template_kwargs: dict[str, Any]
    stream: bool  # its tokens are published while they are generated
    metadata: dict[str, Any]
    refused: ErrorDict  # why it cannot run: the worker hands it in as failed
    ask: dict[str, Any]  # what the request said of its answer; read by the dialect that makes it


class SideItem(TypedDict, total=False):
    """What belongs to an item, but is not read by workers."""

    vars: dict[str, Any]  # those that the job's template does not name
    reference: str | list[str]  # where it was given as a field, not as a column
    origin: list[Any]  # job id and index of the item that this one tries again
    # The same of the item that was tried first, where that one was a retry itself: jobs between the
    # two may be deleted.
    first_origin: list[Any]
    # What an item gets that is given no max_tokens: the one in its params is as much as fitted.
    default_max_tokens: int


ITEM_FIELDS = frozenset(StoredItem.__annotations__)
