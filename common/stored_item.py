"""An item as the store keeps it; its result is in `common/result_row.py`.

The web tier writes items, workers read them. A new field needs code in `worker/item_reader.py`;
workers of an older version refuse items that have it.
"""

from __future__ import annotations

from typing import Any, TypedDict

from common.errors import ErrorDict


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
