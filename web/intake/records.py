"""Writes checked items as the store keeps them; `common/stored_item.py` declares every field."""

from __future__ import annotations

from collections.abc import Container, Iterable
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter, ValidationError

from common.errors import ErrorDict
from common.stored_item import SideItem, StoredItem
from common.types import JsonObject
from web.schemas.fields import CustomId
from web.schemas.preparation import Reference, Variables
from web.schemas.requests import Item

CUSTOM_ID: TypeAdapter[str] = TypeAdapter(CustomId)
VARIABLES: TypeAdapter[JsonObject] = TypeAdapter(Variables)
REFERENCE: TypeAdapter[Any] = TypeAdapter(Reference)


def item_record(
    item: Item, params: JsonObject, variables: Iterable[str] | None = None
) -> StoredItem:
    """An item with the fields that were given, and with `params` in place of its own; `variables`
    are those that the job's template names."""
    record: StoredItem = {}
    if item.custom_id is not None:
        record["custom_id"] = item.custom_id
    if item.prompt is not None:
        record["prompt"] = item.prompt
    if item.prompt_ids is not None:
        record["prompt_ids"] = item.prompt_ids
    if item.messages:
        record["messages"] = [message.plain() for message in item.messages]
    if item.tools is not None:
        record["tools"] = item.tools.stored()
    if item.vars is not None and variables is not None:
        record["vars"] = {name: item.vars[name] for name in variables if name in item.vars}
    if item.continuations is not None:
        record["continuations"] = item.continuations
    if item.chat_template_kwargs:
        record["chat_template_kwargs"] = item.chat_template_kwargs
    if item.stream:
        record["stream"] = True
    if params:
        record["params"] = params
    if item.metadata:
        record["metadata"] = item.metadata
    return record


def side_record(item: Item, named: Container[str], beside: SideItem) -> SideItem | None:
    """What is kept beside the item, which workers do not read: variables that are not `named` by
    the template, the reference, and what is `beside` it anyway. None if there is nothing."""
    if item.vars is None and item.reference is None:
        return beside or None
    side = beside.copy()
    if item.vars and (others := {name: item.vars[name] for name in item.vars if name not in named}):
        side["vars"] = others
    if item.reference is not None:
        side["reference"] = item.reference
    return side or None


def given_id(value: Any) -> str | None:
    """The custom_id of what was to become an item, if it has one that an item may have."""
    given = value.get("custom_id") if isinstance(value, dict) else None
    try:
        return None if given is None else CUSTOM_ID.validate_python(given, strict=True)
    except ValidationError:
        return None


def refused_record(custom_id: str | None, error: ErrorDict) -> StoredItem:
    """An item that cannot run, with the reason: the worker hands it in as failed."""
    why: ErrorDict = {"code": error["code"], "message": error["message"]}
    if "field" in error:
        why["field"] = error["field"]
    record: StoredItem = {"refused": why}
    if custom_id is not None:
        record["custom_id"] = custom_id
    return record


def refused_side(value: Any, beside: SideItem) -> SideItem | None:
    """What is kept beside an item that cannot run: its variables and its reference, if they can be
    kept, and what is `beside` it anyway."""
    side = beside.copy()
    given = value if isinstance(value, dict) else {}
    with suppress(ValidationError):
        if variables := VARIABLES.validate_python(given.get("vars") or {}, strict=True):
            side["vars"] = variables
    with suppress(ValidationError):
        if given.get("reference") is not None:
            side["reference"] = REFERENCE.validate_python(given["reference"])
    return side or None
