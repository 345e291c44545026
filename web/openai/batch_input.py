"""Reads the input file of a batch, line by line, into drafts of one job's items.

A line that cannot be read, or names another model than the first one, fails the whole batch. An
error in the body of a request fails only that request: its line in the error file has the error
that the endpoint would have answered. Knows no Redis.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

from pydantic import JsonValue, ValidationError

from common.errors import ErrorDict, InvalidRequest
from web.intake.drafts import MALFORMED, Draft
from web.intake.uploads import read_upload
from web.intake.validation_messages import explain, unknown_name
from web.openai.answer_options import AnswerOptions, Endpoint
from web.openai.field_filter import MOST_IGNORED, NEAR
from web.openai.read_request import REQUESTS, log_ignored, read_request
from web.openai.requests import default_max_tokens
from web.schemas.base import Schema
from web.schemas.fields import CustomId

FILENAME = "batch.jsonl"  # read as JSONL whatever the file is called


class BatchLine(Schema):
    """One request of a batch. A line without `url` is for the endpoint of the batch."""

    custom_id: CustomId
    method: Literal["POST"] = "POST"
    url: Endpoint
    body: dict[str, JsonValue]


@dataclass(frozen=True)
class BatchContext:
    """What the lines of a batch have in common.

    `model` is named by its first line; `served_name` resolves an alias to the model's own name.
    With `lenient`, unknown fields of requests are ignored, and named in the output.
    """

    endpoint: Endpoint
    model: str | None
    served_name: Callable[[str], str] = str
    lenient: bool = False


def parse_lines(file: IO[bytes]) -> Iterator[Draft]:
    """The JSON value of each line, or that there is none."""
    return read_upload(file, FILENAME)


def first_model(drafts: Iterable[Draft]) -> str | None:
    """The model of the first line that names one, which is the model of the batch."""
    for draft in drafts:
        body = draft.value.get("body") if isinstance(draft.value, dict) else None
        if isinstance(body, dict) and isinstance(model := body.get("model"), str):
            return model
    return None


def read_lines(drafts: Iterable[Draft], batch: BatchContext) -> Iterator[Draft]:
    """Each line as an item, a refused request, or an error of the whole batch."""
    for draft in drafts:
        if draft.fault is not None:
            code = "invalid_json_line" if draft.code == MALFORMED else draft.code
            yield _fault(draft, code, draft.fault)
        else:
            yield _read(draft, batch)


def _read(draft: Draft, batch: BatchContext) -> Draft:
    value, others = _known_fields(draft.value, batch.endpoint)
    try:
        line = BatchLine.model_validate(value)
    except ValidationError as error:
        entries = explain(error, BatchLine)
        code = "url_mismatch" if entries[0]["field"] == "url" else str(entries[0]["code"])
        return _fault(
            draft,
            code,
            "; ".join(str(entry["message"]) for entry in entries),
            str(entries[0]["field"]),
        )
    named = line.body.get("model")
    if not isinstance(named, str):
        return _fault(draft, "missing_field", "body.model is required", "body.model")
    if batch.model is None or batch.served_name(named) != batch.served_name(batch.model):
        message = (
            f"body.model is {named[:80]!r}; the batch's first is "
            f"{str(batch.model)[:80]!r}, and a batch has one"
        )
        return _fault(draft, "model_mismatch", message, "body.model")
    if misplaced := _misplaced(others, line.url):
        return Draft({"custom_id": line.custom_id}, line=draft.line, refused=misplaced)
    return _request(draft, line, batch)


def _known_fields(value: Any, endpoint: Endpoint) -> tuple[Any, Sequence[str]]:
    """The known fields of a line that are given, and the names of the others."""
    if not isinstance(value, dict):
        return value, ()
    known = {name: value[name] for name in BatchLine.model_fields if value.get(name) is not None}
    url = known.setdefault("url", endpoint)
    if isinstance(url, str):
        known["url"] = url.rstrip("/")
    return known, [
        name
        for name, given in value.items()
        if name not in BatchLine.model_fields and given is not None
    ]


def _misplaced(names: Sequence[str], endpoint: Endpoint) -> ErrorDict | None:
    """The error for a field beside those of a line, if it belongs inside the body or is nearly a
    known name: it was meant to have an effect. Others are ignored, as OpenAI does."""
    inside = REQUESTS[endpoint].model_fields
    if len(names) > MOST_IGNORED:
        message = f"the line has {len(names):,} unknown fields"
        return {"code": "unknown_field", "message": message, "field": names[0][:64]}
    for name in names:
        if name in inside:
            return {
                "code": "unknown_field",
                "message": f"{name} belongs inside body",
                "field": name,
            }
        if difflib.get_close_matches(
            name[:64].lower(), [*BatchLine.model_fields, *inside], n=1, cutoff=NEAR
        ):
            message = f"{name[:64]} {unknown_name(name[:64], [*BatchLine.model_fields, *inside])}"
            return {"code": "unknown_field", "message": message, "field": name[:64]}
    log_ignored(names)
    return None


def _request(draft: Draft, line: BatchLine, batch: BatchContext) -> Draft:
    try:
        request = read_request(line.url, line.body, lenient=batch.lenient)
        if request.stream:
            raise InvalidRequest(
                "stream is not for batches; leave it out", code="invalid_value", field="stream"
            )
        item, *more = request.items()
        if more:
            message = "prompt has several prompts; give each a line of its own in a batch"
            raise InvalidRequest(message, code="invalid_value", field="prompt")
    except InvalidRequest as error:
        return Draft({"custom_id": line.custom_id}, line=draft.line, refused=error.errors[0])
    kept = _own_options(request.answer_options, batch)
    return Draft(
        {"custom_id": line.custom_id, **item},
        line=draft.line,
        kept={"ask": kept} if kept else {},
        names=request.names,
        default_max_tokens=default_max_tokens(line.url),
    )


def _fault(draft: Draft, code: str, message: str, field: str = "") -> Draft:
    return Draft(line=draft.line, fault=message, code=code, field=field)


def _own_options(options: AnswerOptions, batch: BatchContext) -> dict[str, JsonValue]:
    """The answer options of a request that differ from those that follow from the batch: its
    endpoint, and the model's own name."""
    model = batch.served_name(options.model)
    usual = AnswerOptions(batch.endpoint, model, tools=options.tools)  # the item has the tools
    if options == usual:
        return {}
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(AnswerOptions)
        if getattr(options, field.name) != getattr(usual, field.name)
    }
