"""An item as the store keeps it: written by the web tier, run by a worker, shown with its result.

A field that is new here needs code in `worker/item_reader.py` that honours it. Workers of an older
version refuse an item that has it.
"""

from __future__ import annotations

from typing import Any, TypedDict


class StoredRefusal(TypedDict, total=False):
    """Why an item cannot run: an entry of an error list."""

    code: str
    message: str
    field: str


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
    refused: StoredRefusal  # the worker hands such an item in as failed
    ask: dict[str, Any]  # what the request said of its answer; read by the dialect that makes it


ITEM_FIELDS = frozenset(StoredItem.__annotations__)
