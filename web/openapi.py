"""`/openapi.json`: OpenAPI 3.1 made from the views' own descriptions and the models that validate and answer.

A view says once what it takes and gives. Why no framework does this: docs/decisions/0005-web-schemas.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, current_app, json
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from web.schemas import ItemRow, Problem, ResultRow
from web.services import services
from web.views import base_url

ARGUMENT = re.compile(r"<(?:any\(([^)]*)\):|\w+:)?(\w+)>")  # of a route: its choices, its name
REFERENCE = "#/components/schemas/{model}"
FILE = {"type": "string", "format": "binary"}

openapi = Blueprint("openapi", __name__)


@dataclass(frozen=True)
class Description:
    """What a view takes and gives."""

    summary: str
    answer: type[BaseModel] | None
    status: int
    body: type[BaseModel] | None
    upload: type[BaseModel] | None
    form: type[BaseModel] | None
    query: type[BaseModel] | None
    headers: tuple[str, ...]
    media_types: tuple[str, ...]
    public: bool

    def models(self) -> list[tuple[type[BaseModel], JsonSchemaMode]]:
        asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [
            (model, "validation") for model in (self.body, self.upload, self.form, self.query) if model
        ]
        return [*asked, (self.answer, "serialization")] if self.answer else asked


def described(
    summary: str,
    answer: type[BaseModel] | None = None,
    *,
    status: int = 200,
    body: type[BaseModel] | None = None,
    upload: type[BaseModel] | None = None,
    form: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    headers: tuple[str, ...] = (),
    media_types: tuple[str, ...] = (),
    public: bool = False,
) -> Callable[[Any], Any]:
    """Put a view into the specification; a test sees to it that none of the API's is missing. `upload` is a file's part
    `job`, `form` the parts beside a file.
    """

    def mark(view: Any) -> Any:
        view.description = Description(summary, answer, status, body, upload, form, query, headers, media_types, public)
        return view

    return mark


@openapi.get("/openapi.json")
def specification() -> Response:
    return Response(json.dumps(_specification(current_app)), content_type="application/json")


def _specification(app: Flask) -> dict[str, Any]:
    found = [
        (rule, method.lower(), description)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if (description := getattr(app.view_functions[rule.endpoint], "description", None))
    ]
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = dict.fromkeys(
        [pair for _, _, description in found for pair in description.models()]
        + [(Problem, "serialization"), (ResultRow, "serialization"), (ItemRow, "serialization")]
    )
    references, schemas = models_json_schema(list(wanted), ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, description in found:
        path = ARGUMENT.sub(r"{\2}", rule.rule)
        paths.setdefault(path, {})[method] = _operation(rule, description, references, schemas["$defs"])
    return {
        "openapi": "3.1.0",
        "info": {"title": "promptmill", "version": "1", "description": "A self-hosted queue for text generation."},
        "servers": [{"url": base_url(services())}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, `pm_…`."}},
        },
    }


def _operation(
    rule: Rule, description: Description, references: dict[Any, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    parameters = [
        _parameter("path", name, True, {"type": "string"} | ({"enum": choices.split(", ")} if choices else {}))
        for choices, name in ARGUMENT.findall(rule.rule)
    ]
    parameters += [_parameter("header", name, False) for name in description.headers]
    if description.query:
        fields = schemas[references[description.query, "validation"]["$ref"].rsplit("/", 1)[-1]]["properties"]
        parameters += [_parameter("query", name, False, schema) for name, schema in fields.items()]
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.rsplit(".", 1)[-1],
        "summary": description.summary,
        "parameters": parameters,
        "responses": _responses(description, references),
    }
    if description.public:
        operation["security"] = []
    if description.body:
        operation["requestBody"] = {"required": True, "content": _body(description, references)}
    elif description.form:
        file = {"properties": {"file": FILE}, "required": ["file"]}
        form = {"allOf": [file, references[description.form, "validation"]]}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return operation


def _parameter(place: str, name: str, required: bool, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = dict(schema or {"type": "string"})
    text = schema.pop("description", None)
    found = {"name": name, "in": place, "required": required, "schema": schema}
    return found | ({"description": text} if text else {})


def _body(description: Description, references: dict[Any, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": references[description.body, "validation"]}}
    if description.upload:
        parts = {"file": FILE, "job": references[description.upload, "validation"]}
        content["multipart/form-data"] = {
            "schema": {"type": "object", "properties": parts, "required": ["file"]},
            "encoding": {"job": {"contentType": "application/json"}},
        }
    return content


def _responses(description: Description, references: dict[Any, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": HTTPStatus(description.status).phrase}
    if description.answer:
        good["content"] = {"application/json": {"schema": references[description.answer, "serialization"]}}
    elif description.media_types:
        good["content"] = {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in description.media_types}
    problem = {"application/problem+json": {"schema": references[Problem, "serialization"]}}
    return {str(description.status): good, "default": {"description": "A problem", "content": problem}}
