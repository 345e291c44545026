"""Errors as OpenAI's client reads them: `{"error": {"message", "type", "param", "code"}}`, all four keys always.

The status decides the exception that the client raises.
"""

from __future__ import annotations

import re
from typing import Any

PATHS = ("/v1/chat/", "/v1/completions", "/v1/models", "/v1/files", "/v1/batches", "/v1/responses")
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
INSIDE_AN_ITEM = re.compile(r"^(items\.\d+\.?)?(params\.)?")


def speaks(path: str) -> bool:
    """Whether requests to this path are answered in OpenAI's dialect."""
    return path.startswith(PATHS)


def error_body(status: int, code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """`field` is the path of what is wrong, as the native API has it."""
    kind = TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    param = INSIDE_AN_ITEM.sub("", field) if field else None
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code}}


def row_error(row: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """The status and body that stand for an item which has no output to show; None for one that has."""
    if row["error"] is not None:
        code, message = row["error"]["code"], row["error"]["message"]
        status = 422 if code in ("invalid_request", "context_length_exceeded") else 500
        return status, error_body(status, code, message)
    if not row["outputs"]:
        return 503, error_body(503, row["status"], f"the request was {row['status']} before it ran")
    return None
