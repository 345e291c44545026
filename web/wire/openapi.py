"""`/openapi.json`: OpenAPI 3.1 made from the views' own descriptions and the models that validate
and answer.

A view says once what it takes and gives; which errors it may answer follows from that, and from the
view's `errors`. Why no framework does this: docs/decisions/0005-web-schemas.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, json
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from common.errors import Conflict, NotFound, TooMany, Unauthorized, Unavailable
from web.follow import stream_cursor
from web.intake import enqueue
from web.jobs.views import base_url
from web.openai import errors as dialect
from web.schemas.answers import ItemRow, Problem, ResultRow
from web.services.services import services
from web.wire.request_schemas import RequestSchemas, form, in_query

ARGUMENT = re.compile(r"<(?:any\(([^)]*)\):|\w+:)?(\w+)>")  # of a route: its choices, its name
REFERENCE = "#/components/schemas/{model}"
FILE = {"type": "string", "format": "binary"}
UNSAFE = {"post", "patch", "delete"}  # methods that another site's page may not make a browser send
HEADERS = {
    "Idempotency-Key": {"type": "string", "pattern": f"^{enqueue.KEY.pattern}$"},
    "Last-Event-ID": {
        "type": "string",
        "description": "The id of an event of this stream.",
        "pattern": rf"^({stream_cursor.CURSOR.pattern})?$",
    },
}
REQUEST_ID = {
    "description": "Also in the server's log.",
    "required": True,
    "schema": {"type": "string"},
}
RETRY_AFTER = {
    "description": "Seconds until trying again may help.",
    "required": True,
    "schema": {"type": "string"},
}

openapi = Blueprint("openapi", __name__)


@dataclass(frozen=True)
class Description:
    """What a view takes and gives."""

    summary: str
    answer: type[BaseModel] | None = None
    status: int = 200
    body: type[BaseModel] | None = None
    upload: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    events: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    public: bool = False

    def models(self) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
        asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [
            (model, "validation")
            for model in (self.body, self.upload, self.form, self.query)
            if model
        ]
        given = [model for model in (self.answer, *self.events.values()) if model]
        return [*asked, *((model, "serialization") for model in given)]


def described(
    summary: str,
    answer: type[BaseModel] | None = None,
    **more: Any,
) -> Callable[[Any], Any]:
    """Put a view into the specification; a test sees to it that none of the API's is missing. What
    else may be said:

    status       of the answer body         the JSON body; `upload` is the part `job` beside a file,
    `form` the parts beside a file query        the query's parameters headers      names of request
    headers that are read media_types  of an answer that is no JSON events       of an answer as
    server-sent events: the data of each by its name; "" for events without a name, and
                 None as the data of `[DONE]`, which is that very text
    errors       statuses that do not follow from the above
    public       no key is needed
    """
    description = Description(summary, answer, **more)

    def mark(view: Any) -> Any:
        view.description = description
        return view

    return mark


@openapi.get("/openapi.json")
def specification() -> Response:
    # Making it takes a third of a second, and anybody may ask.
    kept = current_app.extensions.setdefault("openapi", {})
    if "body" not in kept:
        kept["body"] = json.dumps(make_specification(current_app))
    # Not kept: they follow the host that was asked, and whoever asks first must not choose it for
    # the others.
    servers = json.dumps([{"url": base_url(services())}])
    return Response(f'{{"servers": {servers}, {kept["body"][1:]}', content_type="application/json")


def make_specification(app: Flask) -> dict[str, Any]:
    found = [
        (rule, method.lower(), description)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if (description := getattr(app.view_functions[rule.endpoint], "description", None))
    ]
    always: list[type[BaseModel]] = [Problem, dialect.ErrorBody, ResultRow, ItemRow]
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = dict.fromkeys(
        [pair for _, _, description in found for pair in description.models()]
        + [(model, "serialization") for model in always]
    )
    references, schemas = models_json_schema(
        list(wanted), ref_template=REFERENCE, schema_generator=RequestSchemas
    )
    operation = _Operations(references, schemas["$defs"])
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, description in found:
        paths.setdefault(template(rule.rule), {})[method] = operation.describe(
            rule, method, description
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "promptmill",
            "version": "1",
            "description": "A self-hosted queue for text generation.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "responses": operation.errors,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, `pm_…`."}
            },
        },
    }


@cache
def template(route: str) -> str:
    """A route as people write it: `/v1/jobs/{job_id}`."""
    return ARGUMENT.sub(r"{\2}", route)


class _Operations:
    """Describes operations. `references` are the models' places among `schemas`."""

    def __init__(self, references: Mapping[Any, dict[str, Any]], schemas: dict[str, Any]):
        self._references = references
        self._schemas = schemas
        self.errors: dict[str, dict[str, Any]] = {}  # by name

    def describe(self, rule: Rule, method: str, description: Description) -> dict[str, Any]:
        operation: dict[str, Any] = {
            "operationId": rule.endpoint.replace(".", "_"),
            "summary": description.summary,
            "parameters": self._parameters(rule, description),
            "responses": self._responses(rule, method, description),
        }
        if description.public:
            operation["security"] = []
        if content := self._body(description):
            operation["requestBody"] = {"required": True, "content": content}
        return operation

    def _parameters(self, rule: Rule, description: Description) -> list[dict[str, Any]]:
        found = [
            _parameter(
                "path",
                name,
                True,
                {"type": "string"} | ({"enum": choices.split(", ")} if choices else {}),
            )
            for choices, name in ARGUMENT.findall(rule.rule)
        ]
        found += [_parameter("header", name, False, HEADERS[name]) for name in description.headers]
        if description.query:
            fields = self._schema(description.query)["properties"]
            found += [
                _parameter("query", name, False, in_query(schema))
                for name, schema in fields.items()
            ]
        return found

    def _body(self, description: Description) -> dict[str, Any]:
        content: dict[str, Any] = {}
        if description.body:
            content["application/json"] = {
                "schema": self._references[description.body, "validation"]
            }
        if description.upload:
            parts = {"file": FILE, "job": self._references[description.upload, "validation"]}
            schema = {
                "type": "object",
                "properties": parts,
                "required": ["file"],
                "additionalProperties": False,
            }
            encoding = {"job": {"contentType": "application/json"}}
            content["multipart/form-data"] = {"schema": schema, "encoding": encoding}
        if description.form:
            content["multipart/form-data"] = {
                "schema": form(self._schema(description.form), self._schemas, FILE)
            }
        return content

    def _responses(self, rule: Rule, method: str, description: Description) -> dict[str, Any]:
        good = {
            "description": HTTPStatus(description.status).phrase,
            "headers": {"X-Request-Id": REQUEST_ID},
        }
        if content := self._content(rule, description):
            good["content"] = content
        found = {str(description.status): good}
        return found | {
            str(status): self._error(rule, status)
            for status in sorted(_errors(rule, method, description))
        }

    def _content(self, rule: Rule, description: Description) -> dict[str, Any]:
        content: dict[str, Any] = {
            kind.partition(";")[0]: {"schema": {"type": "string"}}
            for kind in description.media_types
        }
        if description.answer:
            content["application/json"] = {
                "schema": self._references[description.answer, "serialization"]
            }
        if description.events:
            told = [self._event(name, model) for name, model in description.events.items()]
            if dialect.speaks(rule.rule):
                told.append(self._event("", dialect.ErrorBody))
            content["text/event-stream"] = {"schema": {"anyOf": told}}
        return content

    def _event(self, name: str, model: type[BaseModel] | None) -> dict[str, Any]:
        """One server-sent event; OpenAPI 3.1 has no other way to describe a stream of them."""
        data: dict[str, Any] = {"type": "string"}
        if model:
            schema = self._references[model, "serialization"]
            data |= {"contentMediaType": "application/json", "contentSchema": schema}
        else:
            data["const"] = name
        found: dict[str, Any] = {
            "type": "object",
            "properties": {"data": data},
            "required": ["data"],
        }
        if name and model:
            found["properties"]["event"] = {"const": name}
            found["required"].append("event")
        return found

    def _error(self, rule: Rule, status: int) -> dict[str, Any]:
        """A reference to the error, which is described once."""
        kind, model = "application/problem+json", cast("type[BaseModel]", Problem)
        if dialect.speaks(rule.rule):
            kind, model = dialect.MEDIA_TYPE, dialect.ErrorBody
        name = f"{model.__name__}{status}"
        self.errors.setdefault(name, self._described_error(status, kind, model))
        return {"$ref": f"#/components/responses/{name}"}

    def _described_error(self, status: int, kind: str, model: type[BaseModel]) -> dict[str, Any]:
        headers = {"X-Request-Id": REQUEST_ID}
        if status in (TooMany.status, Unavailable.status):
            headers["Retry-After"] = RETRY_AFTER
        schema = self._references[model, "serialization"]
        return {
            "description": HTTPStatus(status).phrase,
            "headers": headers,
            "content": {kind: {"schema": schema}},
        }

    def _schema(self, model: type[BaseModel]) -> dict[str, Any]:
        found: dict[str, Any] = self._schemas[
            self._references[model, "validation"]["$ref"].rsplit("/", 1)[-1]
        ]
        return found


def _errors(rule: Rule, method: str, description: Description) -> set[int]:
    """Statuses besides the good one: what the view says, and what follows from what it takes."""
    found = set(description.errors)
    if description.public:
        return found
    found |= {Unauthorized.status, Unavailable.status, 500}
    # A query or a body that is not taken.
    found |= {400, 422} if dialect.speaks(rule.rule) else {422}
    if method in UNSAFE:
        found.add(403)
    if rule.arguments:
        found.add(NotFound.status)
    if description.body or description.form:
        found |= {400, 408, 413, 415, 429}
    if description.headers and method in UNSAFE:
        found.add(Conflict.status)  # of an idempotency key
    return found


def _parameter(place: str, name: str, required: bool, schema: dict[str, Any]) -> dict[str, Any]:
    schema = dict(schema)
    text = schema.pop("description", None)
    found = {"name": name, "in": place, "required": required, "schema": schema}
    return found | ({"description": text} if text else {})
