"""A JSON Schema whose texts are long, for rows that are measured or killed in mid-text."""

from __future__ import annotations

from typing import Any


def schema(number: int) -> dict[str, Any]:
    """A list of objects, with names of its own; it has far more than 200 tokens."""
    properties = {
        f"name_{number}": {"type": "string", "maxLength": 24},
        "kind": {"enum": ["person", "place", f"thing {number}"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9999},
        "score": {"type": "number"},
        "day": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 2},
        "place": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "known": {"type": "boolean"}},
            "required": ["city", "known"],
            "additionalProperties": False,
        },
    }
    one = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "array", "items": one, "minItems": 40}
