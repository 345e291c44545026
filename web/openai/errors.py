"""Errors as OpenAI's client reads them: `{"error": {"message", "type", "param", "code"}}`, all four
keys always.

The status decides the exception that the client raises.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, Field

KEEP_422 = "idempotency_key_reused"
# The native API's paths under /v1. All others there are OpenAI's, those that there are not
# included: its clients ask.
VLLM = ("/tokenize", "/detokenize", "/tokenizer_info")  # errors there have the same shape
NATIVE = re.compile(r"/v1/(jobs|workers)(/.*)?", re.DOTALL)
MEDIA_TYPE = "application/json"
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
INSIDE_AN_ITEM = re.compile(r"^(items\.\d+\.?)?(params\.)?")
# Which kind of prompt it was compared with.
UNION = re.compile(r"^(prompt)\.(str|list|constrained).*")


class ErrorAbout(BaseModel):
    message: str
    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "rate_limit_error",
        "server_error",
    ]
    param: str | None = Field(description="The field that is wrong.")
    code: str = Field(description="Stable, for programs.")


class ErrorBody(BaseModel):
    """Every error on OpenAI's paths."""

    error: ErrorAbout


def speaks(path: str) -> bool:
    """Whether requests to this path are answered in OpenAI's dialect."""
    return path in VLLM or (f"{path}/".startswith("/v1/") and not NATIVE.fullmatch(path))


def status_of(status: int, code: str) -> int:
    """The status here of an error that has `status` natively: what is wrong with a request is a
    400."""
    return 400 if status == 422 and code != KEEP_422 else status


def error_body(status: int, code: str, message: str, field: str | None = None) -> dict[str, Any]:
    """`field` is the path of what is wrong, as the native API has it, or the client."""
    kind = TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    param = UNION.sub(r"\1", INSIDE_AN_ITEM.sub("", field)) if field else None
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code}}


def row_error(row: dict[str, Any], chat: bool) -> tuple[int, dict[str, Any]] | None:
    """The status and body that stand for an item which has no output to show; None for one that
    has. `chat`: it was asked for as messages."""
    if row["error"] is not None:
        code, message = row["error"]["code"], row["error"]["message"]
        if code == "context_length_exceeded":
            return 400, error_body(400, code, message, "messages" if chat else "prompt")
        status = 400 if code == "invalid_request" else 500
        return status, error_body(status, code, message)
    if not row["outputs"]:
        return 503, error_body(503, row["status"], f"the request was {row['status']} before it ran")
    return None
