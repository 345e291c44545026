"""Files and batches as OpenAI's client reads them. Times are in unix seconds; absent values are
null."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, TypeVar

from flask import Response
from pydantic import BaseModel, Field

from common.store.packing import one_line
from web.openai.field_filter import header_names
from web.schemas.base import Schema


class Expiry(Schema):
    """When a file expires."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000, description="An hour to thirty days.")


class FileView(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int = Field(description="0 for output files of a running batch.")
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Literal["batch", "input", "batch_output"]
    status: Literal["uploaded", "processed"] = Field(
        description="`uploaded`: still growing; `processed`: complete."
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
    """`completed` counts the lines of the output file, `failed` those of the error file."""

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
    """The next page has `after` set to `last_id`."""

    object: Literal["list"] = "list"
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileList(_Page):
    data: list[FileView]


class BatchList(_Page):
    data: list[BatchView]


P = TypeVar("P", bound=_Page)


def json_answer(view: BaseModel) -> Response:
    return Response(one_line(view.model_dump_json().encode()), content_type="application/json")


def add_ignored_header(response: Response, names: Iterable[str]) -> Response:
    """Name the ignored fields in `X-Ignored-Params`."""
    if shown := header_names(names):
        response.headers["X-Ignored-Params"] = ", ".join(shown)
    return response


def list_page(model: type[P], views: Iterator[FileView | BatchView], limit: int) -> P:
    """The first `limit` views as one page, and whether there are more."""
    found = list(islice(views, limit + 1))
    data = found[:limit]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    more = len(found) > limit
    return model.model_validate(
        {"data": data, "first_id": first, "last_id": last, "has_more": more}
    )


def unix_seconds(ms: str | int | None) -> int | None:
    """Unix seconds of a time in ms."""
    return int(ms) // 1000 if ms is not None else None
