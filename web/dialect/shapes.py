"""What files and batches share on the wire: lists, times, expiry."""

from __future__ import annotations

import json
from typing import Any, Literal

from flask import Response
from pydantic import Field

from web.schemas import Schema


class Expiry(Schema):
    """When a file is to go."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000, description="An hour to thirty days.")


def answered(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/json")


def listed(data: list[dict[str, Any]], more: bool) -> Response:
    """A page, which the client goes on from with `after` its last id."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return answered({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more})


def seconds_of(ms: str | int | None) -> int | None:
    """Unix seconds of a time in ms."""
    return int(ms) // 1000 if ms is not None else None
