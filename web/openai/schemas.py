"""Files and batches on the wire, as the client's types have them. Times are in unix seconds; absent
is null."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from flask import Response
from pydantic import BaseModel, Field

from common.store.packing import one_line
from web.openai.field_filter import header_names
from web.schemas.base import Schema


class Expiry(Schema):
    """When a file is to go."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000, description="An hour to thirty days.")


class FileView(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int = Field(description="0 for a batch's files while they grow.")
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["uploaded", "processed"] = Field(
        description="`uploaded`: more comes to it; `processed`: whole."
    )
    status_details: None = None


class FileGone(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class LineError(BaseModel):
    code: str
    line: int | None
    message: str
    param: str | None


class LineErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[LineError]


class RequestCounts(BaseModel):
    """`completed` are lines of the output file, `failed` those of the error file."""

    total: int
    completed: int
    failed: int


class InputDetails(BaseModel):
    cached_tokens: int = 0


class OutputDetails(BaseModel):
    reasoning_tokens: int = 0


class BatchUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


BatchStatus = Literal[
    "validating", "failed", "in_progress", "completed", "expired", "cancelling", "cancelled"
]


class BatchView(BaseModel):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: LineErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage | None
    metadata: dict[str, str] | None


class _Page(BaseModel):
    """Goes on with `after`: its `last_id`."""

    object: Literal["list"] = "list"
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileList(_Page):
    data: list[FileView]


class BatchList(_Page):
    data: list[BatchView]


def json_answer(view: BaseModel) -> Response:
    return Response(one_line(view.model_dump_json().encode()), content_type="application/json")


def add_ignored_header(response: Response, names: Iterable[str]) -> Response:
    """Name the ignored fields in `X-Ignored-Params`."""
    if shown := header_names(names):
        response.headers["X-Ignored-Params"] = ", ".join(shown)
    return response


def page(data: Sequence[FileView | BatchView], more: bool) -> dict[str, Any]:
    """The fields of a page."""
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return {"data": data, "first_id": first, "last_id": last, "has_more": more}


def unix_seconds(ms: str | int | None) -> int | None:
    """Unix seconds of a time in ms."""
    return int(ms) // 1000 if ms is not None else None
