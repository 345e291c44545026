"""A batch's input file, line by line, as drafts of one job's items.

What makes a line unreadable, or part of another batch (its model), is the whole batch's fault. What
is wrong with a request's body is that request's alone: it stays, and is answered as the endpoint
itself would have. Knows no Redis.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

from pydantic import ValidationError

from common.errors import ErrorDict, InvalidRequest
from web.intake.drafts import MALFORMED, Draft
from web.intake.uploads import read_upload
from web.intake.validation_messages import explain, unknown_name
from web.openai.ignored_fields import MOST_IGNORED, NEAR
from web.openai.requests import REQUESTS, Ask, Endpoint, default_max_tokens, read_request, say_once
from web.schemas.base import Schema
from web.schemas.fields import CustomId

FILENAME = "batch.jsonl"  # whatever the file is called: a batch's is JSONL


class Line(Schema):
    """One request of a batch, as it is read. The batch's own endpoint is the `url` of a line that
    has none."""

    custom_id: CustomId
    method: Literal["POST"] = "POST"
    url: Endpoint
    body: dict[str, Any]


@dataclass(frozen=True)
class Shared:
    """What the lines of a batch have in common.

    `model` is named by its first line; `served_name` tells the model's own name of an alias. With
    `lenient` unknown fields of requests are ignored, which their rows tell.
    """

    endpoint: Endpoint
    model: str | None
    served_name: Callable[[str], str] = str
    lenient: bool = False


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


def read_lines(drafts: Iterable[Draft], shared: Shared) -> Iterator[Draft]:
    """Each line read: an item, a request that is refused, or a fault of the batch."""
    for draft in drafts:
        if draft.fault is not None:
            code = "invalid_json_line" if draft.code == MALFORMED else draft.code
            yield _fault(draft, code, draft.fault)
        else:
            yield _read(draft, shared)


def _read(draft: Draft, shared: Shared) -> Draft:
    value, strange = _sorted(draft.value, shared.endpoint)
    try:
        line = Line.model_validate(value)
    except ValidationError as error:
        entries = explain(error, Line)
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
    if shared.model is None or shared.served_name(named) != shared.served_name(shared.model):
        message = (
            f"body.model is {named[:80]!r}; the batch's first is "
            f"{str(shared.model)[:80]!r}, and a batch has one"
        )
        return _fault(draft, "model_mismatch", message, "body.model")
    if misplaced := _misplaced(strange, line.url):
        return Draft({"custom_id": line.custom_id}, line=draft.line, refused=misplaced)
    return _request(draft, line, shared)


def _sorted(value: Any, endpoint: Endpoint) -> tuple[Any, Sequence[str]]:
    """A line's own fields, as far as they are given, and the names of the others."""
    if not isinstance(value, dict):
        return value, ()
    known = {name: value[name] for name in Line.model_fields if value.get(name) is not None}
    url = known.setdefault("url", endpoint)
    if isinstance(url, str):
        known["url"] = url.rstrip("/")
    return known, [
        name for name, given in value.items() if name not in Line.model_fields and given is not None
    ]


def _misplaced(names: Sequence[str], endpoint: Endpoint) -> ErrorDict | None:
    """What is wrong with a field beside a line's own: whoever wrote it meant it to have an effect.
    What is like nothing that is known changes nothing, as for OpenAI, and is ignored."""
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
            name[:64].lower(), [*Line.model_fields, *inside], n=1, cutoff=NEAR
        ):
            message = f"{name[:64]} {unknown_name(name[:64], [*Line.model_fields, *inside])}"
            return {"code": "unknown_field", "message": message, "field": name[:64]}
    say_once(names)
    return None


def _request(draft: Draft, line: Line, shared: Shared) -> Draft:
    try:
        request = read_request(line.url, line.body, lenient=shared.lenient)
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
    kept = _told(request.ask, shared)
    return Draft(
        {"custom_id": line.custom_id, **item},
        line=draft.line,
        kept={"ask": kept} if kept else {},
        names=request.names,
        default_max_tokens=default_max_tokens(line.url),
    )


def _fault(draft: Draft, code: str, message: str, field: str = "") -> Draft:
    return Draft(line=draft.line, fault=message, code=code, field=field)


def _told(ask: Ask, shared: Shared) -> dict[str, Any]:
    """What the answer will need to know of its request, beyond what all of a batch share: its
    endpoint, and the model by its own name."""
    usual = Ask(shared.endpoint, shared.served_name(ask.model))
    if ask == usual:
        return {}
    return {
        field.name: getattr(ask, field.name)
        for field in dataclasses.fields(Ask)
        if getattr(ask, field.name) != getattr(usual, field.name)
    }
