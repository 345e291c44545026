"""Writes checked items as the store keeps them; `common/stored_item.py` declares every field."""

from __future__ import annotations

from common.errors import ErrorDict
from common.stored_item import StoredItem
from common.types import JsonObject
from web.schemas.requests import Item


def item_record(item: Item, params: JsonObject) -> StoredItem:
    """An item with the fields that were given, and with `params` in place of its own."""
    record: StoredItem = {}
    if item.custom_id is not None:
        record["custom_id"] = item.custom_id
    if item.prompt is not None:
        record["prompt"] = item.prompt
    if item.prompt_ids is not None:
        record["prompt_ids"] = item.prompt_ids
    if item.messages:
        record["messages"] = [message.model_dump() for message in item.messages]
    if item.chat_template_kwargs:
        record["chat_template_kwargs"] = item.chat_template_kwargs
    if item.stream:
        record["stream"] = True
    if params:
        record["params"] = params
    if item.metadata:
        record["metadata"] = item.metadata
    return record


def refused_record(custom_id: str, error: ErrorDict) -> StoredItem:
    """An item that cannot run, with the reason: the worker hands it in as failed."""
    why: ErrorDict = {"code": error["code"], "message": error["message"]}
    if "field" in error:
        why["field"] = error["field"]
    return {"custom_id": custom_id, "refused": why}
