"""The reference in a cell of a table: what the answer to that row is to be compared with."""

from __future__ import annotations

import json
from typing import Any


def reference_of(cell: Any) -> str | list[str] | None:
    """A cell, which is a value of JSON, as a reference; None where it is empty.

    Text is one reference, unless it is a JSON list of texts; other values are their JSON.
    """
    if cell in (None, "", []):
        return None
    if isinstance(cell, str):
        texts = _texts(cell) if cell.startswith("[") else None
        return cell if texts is None else texts or None
    if isinstance(cell, list) and all(isinstance(each, str) for each in cell):
        return cell
    return json.dumps(cell, ensure_ascii=False)


def _texts(cell: str) -> list[str] | None:
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(found, list) and all(isinstance(each, str) for each in found)
    return found if is_list else None
