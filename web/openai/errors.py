"""Errors as OpenAI's client reads them: `{"error": {"message", "type", "param", "code"}}`, always
with all four keys.

The client raises an exception by the status.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from common.result_row import RowResult
from web.wire.error_answers import ErrorShape, Failure

KEEP_422 = "idempotency_key_reused"
ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "rate_limit_error",
    "server_error",
]
TYPES: dict[int, ErrorType] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
# Codes of rows whose request is at fault; it would fail again.
WRONG = (
    *("invalid_request", "unsupported"),
    *("invalid_grammar", "grammar_too_complex", "no_token_left"),
)
INSIDE_AN_ITEM = re.compile(r"^(items\.\d+\.?)?(params\.)?")
# Requests here have the parameters at the top.
PARAMETER = re.compile(r"(?<![\w./'\"])params\.(?=[a-z])")
# The type of prompt that Pydantic compared with.
UNION = re.compile(r"^(prompt)\.(str|list|constrained).*")


class ErrorAbout(TypedDict):
    message: str
    type: ErrorType
    param: Annotated[str | None, Field(description="The field that is wrong.")]
    code: Annotated[str, Field(description="Stable, for programs.")]


class ErrorBody(TypedDict):
    """Every error on OpenAI's paths."""

    error: ErrorAbout


class OpenAIShape(ErrorShape):
    """An invalid request is a 400, and the error names the first field that is wrong."""

    media_type = "application/json"
    model = ErrorBody
    invalid = frozenset({400, 422})
    in_streams = True
    # Without this, OpenAI's client tries some errors again, which cannot help.
    final_headers = MappingProxyType({"X-Should-Retry": "false"})

    def write(self, failure: Failure) -> tuple[int, bytes]:
        first = failure.errors[0] if failure.errors else None
        field = first.get("field") if first else None
        code = first["code"] if first else failure.code
        status = status_of(failure.status, code)
        return status, json.dumps(error_body(status, code, failure.message, field)).encode()


OPENAI_SHAPE = OpenAIShape()


def status_of(status: int, code: str) -> int:
    """The status here of an error that has `status` in the native API: an invalid request is a
    400."""
    return 400 if status == 422 and code != KEEP_422 else status


def error_body(status: int, code: str, message: str, field: str | None = None) -> ErrorBody:
    """`field` is the path of what is wrong, as the native API has it, or the client; so are paths
    in the message."""
    other: ErrorType = "server_error" if status >= 500 else "invalid_request_error"
    kind = TYPES.get(status, other)
    param = UNION.sub(r"\1", INSIDE_AN_ITEM.sub("", field)) if field else None
    said = PARAMETER.sub("", message)
    return {"error": {"message": said, "type": kind, "param": param or None, "code": code}}


def row_error(row: RowResult, chat: bool) -> tuple[int, ErrorBody] | None:
    """The status and body of the error for an item without output; None for an item with output.
    `chat` says whether the request had messages."""
    if row["error"] is not None:
        code, message = row["error"]["code"], row["error"]["message"]
        if code == "context_length_exceeded":
            return 400, error_body(400, code, message, "messages" if chat else "prompt")
        status = 400 if code in WRONG else 500
        return status, error_body(status, code, message)
    if not row["outputs"]:
        return 503, error_body(503, row["status"], f"the request was {row['status']} before it ran")
    return None
