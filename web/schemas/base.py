"""What the request models share: strictness, and field types that several of them use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    JsonValue,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from common.chat_template import RESERVED
from common.given import Given, refuse

LONGEST_DEADLINE = 366 * 86400  # seconds
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # the last second that RFC 3339 has
MOST_TEMPLATE_KWARGS = 16_384  # bytes, as JSON


def _deadline(value: Any) -> datetime | float | None:
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 < value <= LONGEST_DEADLINE:
            return float(value)
        raise refuse("must be above 0 seconds from now and at most a year")
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise refuse(
            "must be an RFC 3339 time with an offset, like 2030-01-31T12:00:00Z, or seconds from "
            "now"
        )
    if moment > LATEST:
        raise refuse(
            f"must be at most {LATEST:%Y-%m-%dT%H:%M:%SZ}, the latest time that can be written"
        )
    return moment


DEADLINE_SCHEMA = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_DEADLINE},
        {"type": "null"},
    ]
}
# A datetime, seconds or None. Annotated as Any, because with the real types Pydantic serializes the
# serialized text once more and warns about its type.
Deadline = Annotated[Any, PlainValidator(_deadline), WithJsonSchema(DEADLINE_SCHEMA)]


def _template_kwargs(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if reserved := next((name for name in RESERVED if name in value), None):
        raise refuse(f"must not have {reserved}, which is set by the server")
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > MOST_TEMPLATE_KWARGS:
        raise refuse(f"has {size:,} bytes as JSON; it may have {MOST_TEMPLATE_KWARGS:,}")
    return value


TemplateKwargs = Annotated[dict[str, JsonValue], AfterValidator(_template_kwargs)]


class Schema(Given):
    """A strict model: unknown fields are refused, and numbers are not parsed from text."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


def either(
    *names: str,
    empty: tuple[Any, ...] = ("", []),
    only_with: Mapping[str, Iterable[str]] | None = None,
) -> JsonDict:
    """A JSON Schema which says that exactly one of these fields is given and is not `empty`. Null
    means that a field is not given. `only_with` are fields that go with one of them only."""
    given: JsonDict = {"not": {"enum": [None, *empty]}}
    absent: JsonDict = {"type": "null"}
    bound = [(name, other) for other, some in (only_with or {}).items() for name in sorted(some)]

    def choice(chosen: str) -> JsonDict:
        properties: JsonDict = {name: given if name == chosen else absent for name in names}
        properties |= {name: absent for name, other in bound if other != chosen}
        return {"required": [chosen], "properties": properties}

    return {"oneOf": [choice(name) for name in names]}


class Query(BaseModel):
    """A query. Its values are text, so numbers are parsed from text here."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
