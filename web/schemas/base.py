"""What the request models share: strictness, refusals, and field types that several of them use."""

from __future__ import annotations

import json
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
from pydantic_core import PydanticCustomError

from common.chat_template import RESERVED
from common.params import Given

LONGEST_DEADLINE = 366 * 86400  # seconds
LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # the last second that a view can tell
MOST_TEMPLATE_KWARGS = 16_384  # bytes, as JSON


def refuse(message: str) -> PydanticCustomError:
    """An error whose message reaches the user as it is."""
    return PydanticCustomError("refused", "{message}", {"message": message})


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
        raise refuse(f"must be at most {LATEST:%Y-%m-%dT%H:%M:%SZ}, the latest time there is here")
    return moment


DEADLINE_SCHEMA = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_DEADLINE},
        {"type": "null"},
    ]
}
# Any: told the real types, Pydantic serializes the result of serializing them once more, and warns
# that it is text. Datetime, seconds or None.
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
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


def either(*names: str, empty: tuple[Any, ...] = ("", [])) -> dict[str, Any]:
    """For a JSON Schema: that one of these fields is given, and is not `empty`; null is not
    given."""
    given: dict[str, Any] = {"not": {"enum": [None, *empty]}}
    absent: dict[str, Any] = {"type": "null"}
    return {
        "oneOf": [
            {
                "required": [name],
                "properties": {each: given if each == name else absent for each in names},
            }
            for name in names
        ]
    }


class Query(BaseModel):
    """Queries are text, so their numbers are read out of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
