"""`/v1/files`: uploaded files of requests and of jobs' input, and the output and error files of
batches."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import BeforeValidator, Field
from werkzeug.datastructures import FileStorage

from common.errors import InvalidRequest, NotFound
from common.given import refuse
from common.store.batches import Batch
from common.store.files import StoredFile
from common.store.places import HIGHEST, LOWEST, Place
from common.store.records import readable, reading
from web.auth import needs_tenant
from web.intake.input_file import INPUT_AGE, keep_file
from web.intake.validation_messages import validated
from web.openai.batch_output import (
    OutputFile,
    batch_of,
    content,
    file_id,
    find_output,
    output_files,
    size,
)
from web.openai.errors import OPENAI_SHAPE
from web.openai.schemas import (
    Expiry,
    FileGone,
    FileList,
    FileView,
    json_answer,
    list_page,
    unix_seconds,
)
from web.schemas.base import Query, Schema
from web.services.services import Services, services
from web.wire.bodies import MOST_JSON, MOST_PARTS, read_query, refuse_unread
from web.wire.description import described
from web.wire.downloads import download
from web.wire.error_answers import answer_errors

# Seconds until an uploaded file expires by default. A batch may be made of its file for as long as
# the longest allowed time; input of a job is read soon after, and counts against the quota.
KEPT = {"batch": 30 * 86400, "input": INPUT_AGE}
OUTPUT = "file-output-", "file-error-"
INSIDE = re.compile(r"expires_after\[(\w{1,64})\]")  # a field of an object, as a form names it

AnyFile = StoredFile | OutputFile

files = Blueprint("openai_files", __name__)
files.before_request(refuse_unread)
answer_errors(files, OPENAI_SHAPE, "/v1/files")


def _purpose(value: Any) -> Any:
    if isinstance(value, str) and value not in KEPT:
        raise refuse("must be batch (requests of a batch) or input (a table or texts for jobs)")
    return value


class FileRequest(Schema):
    """The fields that are sent with a file."""

    purpose: Annotated[Literal["batch", "input"], BeforeValidator(_purpose)]
    expires_after: Expiry | None = None


class FilePage(Query):
    after: str | None = None
    limit: int = Field(10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


@files.post("/v1/files")
@described(
    "Upload a file of requests, or of input for jobs", FileView, form=FileRequest, errors=(429,)
)
@needs_tenant
def create(tenant: str) -> Response:
    upload, wanted = _read_upload()
    ttl = wanted.expires_after.seconds if wanted.expires_after else KEPT[wanted.purpose]
    kept = keep_file(
        services(), tenant, upload.stream, upload.filename or "", purpose=wanted.purpose, ttl=ttl
    )
    return json_answer(file_view(services(), kept))


@files.get("/v1/files")
@described("Your files: uploads, and output of batches", FileList, query=FilePage, errors=(404,))
@needs_tenant
def listing(tenant: str) -> Response:
    asked = read_query(FilePage)
    newest_first = asked.order == "desc"
    found = _walk(services(), tenant, newest_first, asked.after)
    if asked.purpose:
        found = (file for file in found if purpose_of(file) == asked.purpose)
    views = readable(found, partial(file_view, services()), lambda file: file.id)
    return json_answer(list_page(FileList, views, asked.limit))


@files.get("/v1/files/<file_id>")
@described("A file", FileView)
@needs_tenant
def retrieve(tenant: str, file_id: str) -> Response:
    return json_answer(file_view(services(), find(services(), file_id, tenant)))


@files.get("/v1/files/<file_id>/content")
@described("The content of a file", media_types=("application/octet-stream", "application/jsonl"))
@needs_tenant
def read(tenant: str, file_id: str) -> Response:
    file = find(services(), file_id, tenant)
    if isinstance(file, OutputFile):
        return download(content(services(), file), "application/jsonl; charset=utf-8")
    response = download(services().files.chunks(file.id), "application/octet-stream")
    response.content_length = file.bytes
    return response


@files.delete("/v1/files/<file_id>")
@described("Delete a file", FileGone)
@needs_tenant
def delete(tenant: str, file_id: str) -> Response:
    if file_id.startswith(OUTPUT):
        file = find_output(services(), file_id, tenant)
        services().batches.note(file.batch.id, **{f"{file.kind}_gone": 1})
    else:
        services().files.delete(file_id, tenant)
    return json_answer(FileGone(id=file_id))


def find(services: Services, file_id: str, tenant: str) -> AnyFile:
    """An uploaded file, or an output file of a batch."""
    if file_id.startswith(OUTPUT):
        return find_output(services, file_id, tenant)
    return services.files.get(file_id, tenant)


def purpose_of(file: AnyFile) -> str:
    return "batch_output" if isinstance(file, OutputFile) else file.purpose


def file_view(services: Services, file: AnyFile) -> FileView:
    """The file as the client reads it."""
    with reading(file.id):
        return _view(services, file)


def _view(services: Services, file: AnyFile) -> FileView:
    whole = not isinstance(file, OutputFile) or file.over
    return FileView.model_validate(
        {
            "id": file.id,
            "bytes": size(services, file) if isinstance(file, OutputFile) else file.bytes,
            "created_at": unix_seconds(file.created_at),
            "expires_at": unix_seconds(file.expires_at),
            "filename": file.filename,
            "purpose": purpose_of(file),
            "status": "processed" if whole else "uploaded",
        }
    )


def _walk(
    services: Services, tenant: str, newest_first: bool, after: str | None
) -> Iterator[AnyFile]:
    """Uploaded files and output files after `after`, by time of creation; at equal times the
    uploaded ones first."""
    uploads, batches, rest = _places(services, tenant, newest_first, after)
    found = services.files.walk(tenant, newest_first=newest_first, behind=uploads)
    records = services.batches.walk(tenant, newest_first=newest_first, behind=batches)
    of_batches = readable(records, partial(_outputs, services), lambda batch: batch.id)
    outputs = (file for found in of_batches for file in found)
    sign = -1 if newest_first else 1
    return heapq.merge(found, chain(rest, outputs), key=lambda file: sign * file.created_at)


def _places(
    services: Services, tenant: str, newest_first: bool, after: str | None
) -> tuple[Place | None, Place | None, list[OutputFile]]:
    """The places after `after` among the uploaded files and among the batches, and the other file
    of the batch to which `after` belongs. The file itself may have been deleted meanwhile."""
    if not after:
        return None, None, []
    first, last = (HIGHEST, LOWEST) if newest_first else (LOWEST, HIGHEST)
    if not after.startswith(OUTPUT):
        moment, _ = place = services.files.place(after, tenant)
        return place, (moment, first), []
    moment, name = place = services.batches.place(batch_of(after), tenant)
    rest = []
    with suppress(NotFound):
        if after == file_id(name, "output"):
            rest = [
                file
                for file in output_files(services, services.batches.get(name, tenant))
                if file.kind == "error"
            ]
    return (moment, last), place, rest


def _outputs(services: Services, batch: Batch) -> list[AnyFile]:
    return list(output_files(services, batch))


def _read_upload() -> tuple[FileStorage, FileRequest]:
    """The file, which is on disk if it is large, and the fields that were sent with it."""
    if request.mimetype != "multipart/form-data":
        message = "send multipart/form-data with the parts `file` and `purpose`"
        raise InvalidRequest(
            message, status=415, code="unsupported_media_type", field="Content-Type"
        )
    request.max_form_memory_size = MOST_JSON
    request.max_form_parts = MOST_PARTS
    sent, fields = request.files, request.form
    if set(sent) != {"file"} or len(sent.getlist("file")) != 1:
        raise InvalidRequest(
            "send one file, as the part `file`", code="missing_field", field="file"
        )
    for name, values in fields.lists():
        if len(values) > 1:
            raise InvalidRequest(
                f"{name[:64]} is given more than once", code="invalid_value", field=name[:64]
            )
    wanted: dict[str, str | dict[str, str | int]] = {}
    expiry: dict[str, str | int] = {}
    for name, text in fields.items():
        if inside := INSIDE.fullmatch(name):
            is_number = inside[1] == "seconds" and text.isdecimal() and len(text) < 12
            expiry[inside[1]] = int(text) if is_number else text
            wanted["expires_after"] = expiry
        else:
            wanted[name] = text
    return sent["file"], validated(FileRequest, wanted)
