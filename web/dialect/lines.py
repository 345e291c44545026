"""A batch's input file, line by line, as drafts of one job's items.

What makes a line unreadable, or part of another batch (its url, its model), is the whole batch's fault. What is wrong
with a request's body is that request's alone: it stays, and is answered as the endpoint itself would have. Knows no
Redis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import IO, Any, Literal

from pydantic import ValidationError

from common.errors import InvalidRequest
from common.types import CustomId
from web.dialect.requests import Ask, Endpoint, read_request
from web.drafts import Draft
from web.explain import explain
from web.schemas import Schema
from web.uploads import read_upload

FILENAME = "batch.jsonl"  # whatever the file is called: a batch's is JSONL


class Line(Schema):
    """One request of a batch."""

    custom_id: CustomId
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


def split(file: IO[bytes]) -> Iterator[Draft]:
    """What is in each line, whatever it is."""
    return read_upload(file, FILENAME)


def model_of(drafts: Iterable[Draft]) -> str | None:
    """The model of the first line that names one: the batch's."""
    for draft in drafts:
        body = draft.value.get("body") if isinstance(draft.value, dict) else None
        if isinstance(body, dict) and isinstance(model := body.get("model"), str):
            return model
    return None


def read_lines(
    drafts: Iterable[Draft], endpoint: Endpoint, model: str | None, *, lenient: bool = False
) -> Iterator[Draft]:
    """Each line read: an item, a request that is refused, or a fault of the batch. With `lenient` unknown fields of
    requests are ignored, which their rows tell."""
    for draft in drafts:
        if draft.fault is not None:
            yield _fault(draft, "invalid_json_line", draft.fault)
        else:
            yield _read(draft, endpoint, model, lenient)


def _read(draft: Draft, endpoint: Endpoint, model: str | None, lenient: bool) -> Draft:
    try:
        line = Line.model_validate(draft.value)
    except ValidationError as error:
        entries = explain(error, Line)
        return _fault(draft, str(entries[0]["code"]), "; ".join(str(entry["message"]) for entry in entries),
                      str(entries[0]["field"]))  # fmt: skip
    if line.url != endpoint:
        return _fault(draft, "url_mismatch", f"url is {line.url[:80]!r}; this batch is for {endpoint}", "url")
    named = line.body.get("model")
    if not isinstance(named, str):
        return _fault(draft, "missing_field", "body.model is required", "body.model")
    if named != model:
        message = f"body.model is {named[:80]!r}; the batch's first is {str(model)[:80]!r}, and a batch has one"
        return _fault(draft, "model_mismatch", message, "body.model")
    return _request(draft, line, endpoint, lenient)


def _request(draft: Draft, line: Line, endpoint: Endpoint, lenient: bool) -> Draft:
    try:
        request = read_request(endpoint, line.body, lenient=lenient)
        if request.stream:
            raise InvalidRequest("stream is not for batches; leave it out", code="invalid_value", field="stream")
        item, *more = request.items()
        if more:
            message = "prompt has several prompts; give each a line of its own in a batch"
            raise InvalidRequest(message, code="invalid_value", field="prompt")
    except InvalidRequest as error:
        return Draft({"custom_id": line.custom_id}, line=draft.line, refused=error.errors[0])
    kept = _told(request.ask)
    kept = {"ask": kept} if kept else {}
    return Draft({"custom_id": line.custom_id, **item}, line=draft.line, kept=kept, names=request.names)


def _fault(draft: Draft, code: str, message: str, field: str = "") -> Draft:
    return Draft(line=draft.line, fault=message, code=code, field=field)


def _told(ask: Ask) -> dict[str, Any]:
    """What the answer will need to know of its request, beyond what all of a batch share."""
    usual = Ask(ask.endpoint, ask.model)
    if ask == usual:
        return {}
    return {
        field.name: getattr(ask, field.name)
        for field in dataclasses.fields(Ask)
        if getattr(ask, field.name) != getattr(usual, field.name)
    }
