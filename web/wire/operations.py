"""Describes the operations of `/openapi.json`: parameters, bodies, answers, and the errors that
follow from what a view takes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue
from werkzeug.routing import Rule

from common.errors import Conflict, NotFound, TooMany, Unauthorized, Unavailable
from web.schemas.headers import HEADERS
from web.wire import sse
from web.wire.connection import MOST_REQUEST_LINE
from web.wire.description import Description
from web.wire.error_answers import ErrorShape, ErrorShapes
from web.wire.openapi_objects import (
    Answer,
    Content,
    Header,
    Operation,
    Parameter,
    Reference,
)
from web.wire.request_schemas import form, in_query
from web.wire.routes import ARGUMENT

FILE: JsonSchemaValue = {"type": "string", "format": "binary"}
UNSAFE = {"post", "patch", "delete"}  # methods that another site's page may not make a browser send
REQUEST_ID: Header = {
    "description": "Also in the server's log.",
    "required": True,
    "schema": {"type": "string"},
}
# The server refuses such a request before the app sees it, so it has no error's usual form.
LONG_ADDRESS: Answer = {
    "description": f"The address is longer than {MOST_REQUEST_LINE:,} bytes as it is sent.",
    "headers": {},
    "content": {"text/html": {"schema": {"type": "string"}}},
}
RETRY_AFTER: Header = {
    "description": "Seconds until trying again may help.",
    "required": True,
    "schema": {"type": "string"},
}


class Operations:
    """Describes operations. `references` are the models' places among `schemas`; `errors` collects
    the errors that were named, each described once."""

    def __init__(
        self,
        references: Mapping[tuple[type, JsonSchemaMode], JsonSchemaValue],
        schemas: dict[str, JsonSchemaValue],
        shapes: ErrorShapes,
    ):
        self._references = references
        self._schemas = schemas
        self._shapes = shapes
        self.errors: dict[str, Answer] = {}  # by name

    def describe(self, rule: Rule, method: str, description: Description) -> Operation:
        operation: Operation = {
            "operationId": rule.endpoint.replace(".", "_"),
            "summary": description.summary,
            "parameters": self._parameters(rule, description),
            "responses": self._responses(rule, method, description),
        }
        if description.public:
            operation["security"] = []
        if description.for_raters:
            operation["security"] = [{"rater": []}]
        if content := self._body(description):
            required = not description.may_be_empty
            operation["requestBody"] = {"required": required, "content": content}
        return operation

    def _parameters(self, rule: Rule, description: Description) -> list[Parameter]:
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
            schema = self._schema(description.query)
            needed = schema.get("required", [])
            found += [
                _parameter("query", name, name in needed, in_query(field))
                for name, field in schema["properties"].items()
            ]
        return found

    def _body(self, description: Description) -> Content:
        content: Content = {}
        if description.body:
            content["application/json"] = {
                "schema": self._references[description.body, "validation"]
            }
        if description.upload:
            about = self._references[description.upload, "validation"]
            parts = {"file": FILE, description.part: about}
            schema: JsonSchemaValue = {
                "type": "object",
                "properties": parts,
                "required": ["file"],
                "additionalProperties": False,
            }
            encoding = {description.part: {"contentType": "application/json"}}
            content["multipart/form-data"] = {"schema": schema, "encoding": encoding}
        if description.form:
            content["multipart/form-data"] = {
                "schema": form(self._schema(description.form), self._schemas, FILE)
            }
        return content

    def _responses(
        self, rule: Rule, method: str, description: Description
    ) -> dict[str, Answer | Reference]:
        content = self._content(rule, description)
        phrase = HTTPStatus(description.status).phrase
        found: dict[str, Answer | Reference] = {str(description.status): _good(phrase, content)}
        if description.computed:
            again = {"Retry-After": RETRY_AFTER}
            found["202"] = _good("It is being computed.", content, again)
        for status in sorted(_errors(rule, method, description, self._shape(rule).invalid)):
            found[str(status)] = self._error(rule, status)
        return found

    def _content(self, rule: Rule, description: Description) -> Content:
        content: Content = {
            kind.partition(";")[0]: {"schema": {"type": "string"}}
            for kind in description.media_types
        }
        if description.answer:
            content["application/json"] = {
                "schema": self._references[description.answer, "serialization"]
            }
        if description.events:
            events = [self._event(name, model) for name, model in description.events.items()]
            if (shape := self._shape(rule)).in_streams:
                events.append(self._event("", shape.model))
            content[sse.MEDIA_TYPE] = {"schema": {"anyOf": events}}
        return content

    def _event(self, name: str, model: type | None) -> JsonSchemaValue:
        """One server-sent event; OpenAPI 3.1 has no other way to describe a stream of them."""
        data: JsonSchemaValue = {"type": "string"}
        if model:
            schema = self._references[model, "serialization"]
            data |= {"contentMediaType": "application/json", "contentSchema": schema}
        else:
            data["const"] = name
        found: JsonSchemaValue = {
            "type": "object",
            "properties": {"data": data},
            "required": ["data"],
        }
        if name and model:
            found["properties"]["event"] = {"const": name}
            found["required"].append("event")
        return found

    def _shape(self, rule: Rule) -> ErrorShape:
        return self._shapes.of(rule.endpoint.rpartition(".")[0], rule.rule)

    def _error(self, rule: Rule, status: int) -> Reference:
        """A reference to the error, which is described once."""
        if status == HTTPStatus.REQUEST_URI_TOO_LONG:
            self.errors["LongAddress"] = LONG_ADDRESS
            return {"$ref": "#/components/responses/LongAddress"}
        shape = self._shape(rule)
        name = f"{shape.model.__name__}{status}"
        self.errors.setdefault(name, self._described_error(status, shape))
        return {"$ref": f"#/components/responses/{name}"}

    def _described_error(self, status: int, shape: ErrorShape) -> Answer:
        headers = {"X-Request-Id": REQUEST_ID}
        if status in (TooMany.status, Unavailable.status):
            headers["Retry-After"] = RETRY_AFTER
        schema = self._references[shape.model, "serialization"]
        return {
            "description": HTTPStatus(status).phrase,
            "headers": headers,
            "content": {shape.media_type: {"schema": schema}},
        }

    def _schema(self, model: type) -> JsonSchemaValue:
        reference: str = self._references[model, "validation"]["$ref"]
        return self._schemas[reference.rsplit("/", 1)[-1]]


def _good(text: str, content: Content, more: dict[str, Header] | None = None) -> Answer:
    found: Answer = {"description": text, "headers": {"X-Request-Id": REQUEST_ID} | (more or {})}
    if content:
        found["content"] = content
    return found


def _errors(rule: Rule, method: str, description: Description, invalid: frozenset[int]) -> set[int]:
    """Statuses besides the good one: what the view says, and what follows from what it takes."""
    found = set(description.errors)
    if description.public:
        return found
    found |= {Unavailable.status, 500}
    found.add(NotFound.status if description.for_raters else Unauthorized.status)
    found |= invalid  # a query or a body that is not taken
    if description.query:
        found.add(HTTPStatus.REQUEST_URI_TOO_LONG)
    if method in UNSAFE or (description.for_raters and method == "put"):
        found.add(403)
    if rule.arguments:
        found.add(NotFound.status)
    if description.body or description.form:
        found |= {400, 408, 413, 415, 429}
    if description.headers and method in UNSAFE:
        found.add(Conflict.status)  # of an idempotency key
    return found


def _parameter(place: str, name: str, required: bool, schema: JsonSchemaValue) -> Parameter:
    schema = dict(schema)
    text = schema.pop("description", None)
    found: Parameter = {"name": name, "in": place, "required": required, "schema": schema}
    if text:
        found["description"] = text
    return found
