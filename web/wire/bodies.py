"""Reads what a request carries, and checks it: JSON bodies, uploads, and the query."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from flask import current_app, request
from pydantic import BaseModel
from werkzeug.datastructures import FileStorage

from common.errors import InvalidRequest, TooLarge
from common.types import JsonObject
from web.intake.drafts import Draft, Drafts, from_items, from_prompts
from web.intake.input_file import read_input_file
from web.intake.json_lists import Entries, TooLong, read_object
from web.intake.presets import resolve_preset
from web.intake.reading import Reading
from web.intake.references import ReferenceFile
from web.intake.strict_json import BadJson, TooMuch
from web.intake.uploads import read_items_file, refuse_unused
from web.intake.validation_messages import validated
from web.schemas.derived import DerivedOptions, JobRequest
from web.schemas.evaluations import EvaluationOptions, EvaluationRequest
from web.schemas.requests import (
    FILE_FIELDS,
    InputFile,
    ItemsRequest,
    JobOptions,
    MoreItems,
    UploadOptions,
)
from web.schemas.sweeps import SweepOptions, SweepRequest, SweepUpload
from web.services.services import services
from web.wire.description import Description, description_of
from web.wire.error_answers import too_large

M = TypeVar("M", bound=BaseModel)

MOST_JSON = 16 * 2**20  # bytes of a JSON body, which is held whole, unlike an upload
ITEM_SOURCES = ("items", "prompts", "input_file")  # a job has one of them
KEY = "Idempotency-Key"
MOST_PARTS = 20  # of a form; two are known


@dataclass(frozen=True)
class Shape:
    """The models of what is submitted: without items, with a file, as JSON with all, and without
    items of its own."""

    options: type[JobOptions]
    upload: type[UploadOptions]
    request: type[ItemsRequest]
    derived: type[DerivedOptions] | None = None  # where it may be made of other jobs


JOB = Shape(JobOptions, UploadOptions, ItemsRequest)
NEW_JOB = Shape(JobOptions, UploadOptions, JobRequest, DerivedOptions)
SWEEP = Shape(SweepOptions, SweepUpload, SweepRequest)


def read_submission(tenant: str, shape: Shape = JOB) -> tuple[JobOptions, Drafts]:
    """The options of a job, and its items as drafts: from JSON, which may name a file that the
    tenant stored, or from a multipart upload. The drafts can be read several times; a job of other
    jobs' rows has none yet."""
    if request.mimetype == "multipart/form-data":
        return _read_multipart(tenant, shape)
    if request.is_json:
        return _read_job_json(tenant, shape)
    message = "send application/json, or multipart/form-data with the parts `file` and `job`"
    raise InvalidRequest(message, status=415, code="unsupported_media_type", field="Content-Type")


def read_query(model: type[M]) -> M:
    """The query as the model. Names that it does not know, and names given twice, are refused."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise InvalidRequest(
                f"{name[:64]} is given more than once", code="invalid_value", field=name[:64]
            )
    return validated(model, request.args.to_dict())


def refuse_unread() -> None:
    """Refuse a query, a body or an idempotency key that the view does not take, which would else be
    ignored in silence. Runs before each described view."""
    description = description_of(current_app, str(request.endpoint))
    if description is None or description.public:  # health checks may carry any query string
        return
    if description.query is None and request.args:
        name = next(iter(request.args))[:64]
        raise InvalidRequest(
            f"{name} is not known; no query is taken here", code="unknown_field", field=name
        )
    if (
        description.body is None
        and description.form is None
        and (request.content_length or 0) > len("{}")
    ):
        raise InvalidRequest(
            f"{request.method} takes no body here", code="unknown_field", field="body"
        )
    if KEY in request.headers and KEY not in description.headers and _makes(description):
        message = f"{KEY} has no effect here; leave it out, and look before you send a call again"
        raise InvalidRequest(message, status=400, code="unsupported", field=KEY)


def _makes(description: Description) -> bool:
    """Whether a call that is sent again would make what it makes twice."""
    made = (HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
    return request.method == "POST" and bool(description.body) and description.status in made


def read_json(model: type[M]) -> M:
    """A small JSON body as the model. None is `{}` where the view's description allows that."""
    description = description_of(current_app, str(request.endpoint))
    if description is not None and description.may_be_empty and _is_empty():
        return validated(model, {})
    return validated(model, json_body())


def _is_empty() -> bool:
    return not request.content_length and "Transfer-Encoding" not in request.headers


def read_items() -> Drafts:
    """A JSON body's items or prompts, as drafts."""
    body = json_body(_item_lists())
    drafts = _take_items(body, "items or prompts")
    validated(MoreItems, body)
    return drafts


def json_body(lists: Mapping[str, int] | None = None) -> JsonObject:
    """A JSON body, an object of 16 MiB at most. Long lists that are named in `lists`, each with how
    many entries it may have, are left as text, to be read an entry at a time
    (`json_lists.Entries`)."""
    if not request.is_json:
        raise InvalidRequest(
            "send application/json", status=415, code="unsupported_media_type", field="Content-Type"
        )
    limit = min(MOST_JSON, request.max_content_length or MOST_JSON)
    # One byte over: a body without a Content-Length is cut off there without an error, and
    # what is left must not be taken for the whole.
    request.max_content_length = limit + 1
    raw = request.get_data(cache=False)
    if len(raw) > limit:
        raise too_large()
    return _parsed(raw, "the body", lists)


def _item_lists() -> dict[str, int]:
    return dict.fromkeys(("items", "prompts"), services().settings.max_items)


def _take_items(body: JsonObject, allowed: str) -> Drafts:
    items, prompts = body.pop("items", None), body.pop("prompts", None)
    if (items is None) == (prompts is None):
        raise InvalidRequest(f"give either {allowed}, one of them", code="empty_job", field="items")
    name, entries = ("items", items) if prompts is None else ("prompts", prompts)
    if not isinstance(entries, list | Entries):
        raise InvalidRequest(f"{name} must be a list", code="wrong_type", field=name)
    read = from_items if prompts is None else from_prompts
    return Drafts(lambda: read(entries))


def _read_job_json(tenant: str, shape: Shape) -> tuple[JobOptions, Drafts]:
    body = json_body(_item_lists())
    if shape.derived and body.get("input_from") is not None:
        return _read_derived(body, shape, shape.derived), Drafts(lambda: iter(()))
    if body.get("input_file") is not None:
        return _read_input_file(tenant, body, shape)
    given: JsonObject = {name: body.pop(name) for name in ("items", "prompts") if name in body}
    for name in FILE_FIELDS:
        if body.get(name) is not None:
            message = f"{name} says how a file is read; it goes with input_file or an upload"
            raise InvalidRequest(message, code="unknown_field", field=name)
    read = {
        name: value for name, value in body.items() if name not in (*FILE_FIELDS, *ITEM_SOURCES)
    }
    options = validated(shape.options, read, known=shape.request)
    return options, _take_items(given, "items, prompts or input_file")


def _read_derived(body: JsonObject, shape: Shape, model: type[DerivedOptions]) -> JobOptions:
    others = (*ITEM_SOURCES, *FILE_FIELDS)
    for name in others:
        if body.get(name) is not None:
            message = f"give either {name} or input_from, one of them"
            raise InvalidRequest(message, code="invalid_value", field=name)
    read = {name: value for name, value in body.items() if name not in others}
    return validated(model, read, known=shape.request)


def _read_input_file(tenant: str, body: JsonObject, shape: Shape) -> tuple[JobOptions, Drafts]:
    for name in ("items", "prompts"):
        if body.get(name) is not None:
            message = f"give either {name} or input_file, one of them"
            raise InvalidRequest(message, code="invalid_value", field=name)
    named = validated(InputFile, {"input_file": body["input_file"]})
    read = {name: value for name, value in body.items() if name not in ITEM_SOURCES}
    options = validated(shape.upload, read, known=shape.request)
    found, file_id = services(), named.input_file
    return options, Drafts(lambda: read_input_file(found, tenant, file_id, options), file_id)


def read_evaluation() -> tuple[EvaluationOptions, object]:
    """An evaluation without its references, and these as `read_references` takes them: a list or
    object of JSON, or a file; None where none were sent."""
    if request.mimetype == "multipart/form-data":
        upload, raw = _read_parts("evaluation")
        options = validated(EvaluationOptions, _parsed(raw, "the part evaluation"))
        return options, ReferenceFile(upload.stream, upload.filename or "")
    body = {} if _is_empty() else json_body({"references": services().settings.max_items})
    references = body.pop("references", None)
    return validated(EvaluationOptions, body, known=EvaluationRequest), references


def _read_multipart(tenant: str, shape: Shape) -> tuple[JobOptions, Drafts]:
    upload, raw = _read_parts("job")
    options = validated(shape.upload, _parsed(raw, "the part job"))
    refuse_unused(upload.filename or "", options.format)
    reading = Reading.of(resolve_preset(services(), tenant, options))

    def read() -> Iterator[Draft]:
        upload.stream.seek(0)
        return read_items_file(upload.stream, upload.filename or "", reading)

    return options, Drafts(read)


def _read_parts(about: str) -> tuple[FileStorage, bytes]:
    """The part `file` of a form, and the JSON of the part that says what it is for."""
    request.max_form_memory_size = MOST_JSON
    request.max_form_parts = MOST_PARTS
    files, fields = request.files, request.form  # read to the end here; files go to disk
    for name in (*files, *fields):
        if name not in ("file", about):
            message = f"the part {name[:64]!r} is not known; send file and {about}"
            raise InvalidRequest(message, code="unknown_field", field=name[:64])
    if len(files.getlist("file")) != 1 or "file" in fields:
        raise InvalidRequest(
            "send one file as the part `file`, with its name", code="missing_field", field="file"
        )
    if len(files.getlist(about)) + len(fields.getlist(about)) > 1:
        raise InvalidRequest(f"send the part `{about}` once", code="invalid_value", field=about)
    raw = files[about].read(MOST_JSON + 1) if about in files else fields.get(about, "{}").encode()
    if len(raw) > MOST_JSON:
        raise TooLarge(
            f"the part {about} may have {MOST_JSON / 2**20:.0f} MiB; the rows go into the file",
            field=about,
        )
    return files["file"], raw


def _parsed(raw: bytes, what: str, lists: Mapping[str, int] | None = None) -> JsonObject:
    try:
        body = read_object(raw.removeprefix(BOM_UTF8), lists or {})
    except TooLong as error:
        raise TooLarge(f"{what} is too large: {error}; split it") from None
    except TooMuch as error:
        raise InvalidRequest(
            f"{what} is too large: {error}", status=413, code="too_many_values"
        ) from None
    except BadJson as error:
        raise InvalidRequest(
            f"{what} is not valid JSON: {error}", status=400, code="malformed_json"
        ) from None
    if not isinstance(body, dict):
        raise InvalidRequest(f"{what} must be a JSON object", code="wrong_type")
    return body
