"""Files as they are uploaded, and what the API makes of them."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from common.stored_item import StoredItem
from tests.support.web import Web

BOM = b"\xef\xbb\xbf"


def items_of(web: Web, name: str, content: bytes, **job: Any) -> list[StoredItem]:
    """The stored items of an upload that is accepted; params leave out the max_tokens that made
    them fit."""
    answer = web.upload(name, content, **job)
    assert answer.status_code == 202, answer.text
    found = web.services.store.items(answer.json["id"], 0, 1000)
    for item in found:
        item.get("params", {}).pop("max_tokens", None)
        if not item.get("params"):
            item.pop("params", None)
    return found


def faults(
    web: Web, name: str, content: bytes, status: int = 422, **job: Any
) -> list[tuple[int | None, str]]:
    """(line, message) of everything wrong; nothing was left in Redis."""
    answer = web.upload(name, content, **job)
    assert answer.status_code == status, answer.text
    assert web.job_keys() == []
    return [(entry.get("line"), entry["message"]) for entry in answer.json["errors"]]


def table(**columns: list) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()
