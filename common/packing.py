"""How values are kept in Redis: JSON, compressed."""

from __future__ import annotations

import json
import zlib
from typing import Any

from pydantic_core import from_json, to_json


def pack(value: Any) -> bytes:
    """JSON, compressed. Level 1: four times faster than the default for a few percent more bytes."""
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), 1)


def unpack(blob: bytes) -> Any:
    """What `pack` made; scripts write plain JSON, which is taken too."""
    return from_json(expand(blob))


def expand(blob: bytes) -> bytes:
    """The JSON that `unpack` reads."""
    return blob if blob[:1] in b"{[" else zlib.decompress(blob)


def json_line(value: Any) -> bytes:
    """A line of a JSONL file. Three times as fast as `json.dumps`, which was a quarter of a large download."""
    return to_json(value) + b"\n"
