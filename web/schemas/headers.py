"""The request headers that the API reads: what validates them, and how `/openapi.json` describes
them."""

from __future__ import annotations

import re

from pydantic.json_schema import JsonSchemaValue

IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")

NUMBER = "[0-9]{1,9}"
PLACE = f"{NUMBER}[.][0-9]{{1,3}}={NUMBER}"  # item, continuation, tokens
# The number of finished items that the client has, then the tokens of each item being streamed.
CURSOR = re.compile(f"([0-9]{{1,10}})(?:;({PLACE}(?:,{PLACE})*))?")

HEADERS: dict[str, JsonSchemaValue] = {
    "Idempotency-Key": {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
    "Last-Event-ID": {
        "type": "string",
        "description": "The id of an event of this stream.",
        "pattern": rf"^({CURSOR.pattern})?$",
    },
}
