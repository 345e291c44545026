"""The side of a chunk of items: the columns that their prompts do not need, each name written
once, and what else workers never read. Knows no Redis.

A chunk is JSON, compressed: {"size": items, "vars": {name: [values, places]}, "reference": [values,
places], …}. `places` are those of the items that have a value; left out where all have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic_core import to_json

from common.store.packing import pack, unpack
from common.stored_item import SideItem


def side_bytes(item: SideItem | None) -> int:
    """What it takes as JSON."""
    return len(to_json(item)) if item else 0


def pack_side(items: Sequence[SideItem]) -> bytes:
    """The chunk of these items, as it is stored; empty where none of them has anything."""
    if not any(items):
        return b""
    chunk: dict[str, Any] = {"size": len(items)}
    if columns := _columns([item.get("vars", {}) for item in items]):
        chunk["vars"] = columns
    rest = [{name: value for name, value in item.items() if name != "vars"} for item in items]
    return pack(chunk | _columns(rest))


def unpack_side(blob: bytes) -> list[SideItem]:
    """What `pack_side` was given."""
    chunk: dict[str, Any] = unpack(blob)
    size: int = chunk.pop("size")
    variables = _rows(size, chunk.pop("vars", {}))
    found = _rows(size, chunk)
    for item, own in zip(found, variables, strict=True):
        if own:
            item["vars"] = own
    return cast("list[SideItem]", found)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Each name with its values, and with the places of the rows that have it if not all do."""
    values: dict[str, list[Any]] = {}
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            values.setdefault(name, []).append(value)
            places.setdefault(name, []).append(place)
    return {
        name: [column] if len(column) == len(rows) else [column, places[name]]
        for name, column in values.items()
    }


def _rows(size: int, columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """What `_columns` was made of."""
    rows: list[dict[str, Any]] = [{} for _ in range(size)]
    for name, (values, *places) in columns.items():
        for place, value in zip(places[0] if places else range(size), values, strict=True):
            rows[place][name] = value
    return rows
