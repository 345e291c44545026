"""`/openapi.json`: OpenAPI 3.1 made from the views' own descriptions (`description.py`) and the
models that validate and answer. Why no framework does this: docs/decisions/0005-web-schemas.md."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, current_app, json
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from common.types import JsonObject
from web.schemas.items import ItemRow, ResultRow
from web.services.services import services
from web.wire.description import description_of
from web.wire.error_answers import shapes_of
from web.wire.links import base_url
from web.wire.openapi_objects import Operation
from web.wire.operations import Operations
from web.wire.request_schemas import RequestSchemas
from web.wire.routes import template

REFERENCE = "#/components/schemas/{model}"
ABOUT = (
    "A self-hosted queue for text generation. Clients that prefer text/html get errors as a page, "
    "with the same status and headers."
)

openapi = Blueprint("openapi", __name__)


@openapi.get("/openapi.json")
def specification() -> Response:
    # Made once: it takes a third of a second, and needs no key.
    kept = current_app.extensions.setdefault("openapi", {})
    if "body" not in kept:
        kept["body"] = json.dumps(make_specification(current_app))
    # Not kept: they follow the host in the request, which one client must not choose for another.
    servers = json.dumps([{"url": base_url(services())}])
    return Response(f'{{"servers": {servers}, {kept["body"][1:]}', content_type="application/json")


def make_specification(app: Flask) -> JsonObject:
    found = [
        (rule, method.lower(), description)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if (description := description_of(app, rule.endpoint))
    ]
    shapes = shapes_of(app)
    always: list[type] = [*shapes.models(), ResultRow, ItemRow]
    wanted: dict[tuple[type, JsonSchemaMode], None] = dict.fromkeys(
        [pair for _, _, description in found for pair in description.models()]
        + [(model, "serialization") for model in always]
    )
    references, schemas = TypeAdapter.json_schemas(
        [(model, mode, TypeAdapter(model)) for model, mode in wanted],
        ref_template=REFERENCE,
        schema_generator=RequestSchemas,
    )
    operation = Operations(references, schemas["$defs"], shapes)
    paths: dict[str, dict[str, Operation]] = {}
    for rule, method, description in found:
        paths.setdefault(template(rule.rule), {})[method] = operation.describe(
            rule, method, description
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "promptmill",
            "version": "1",
            "description": ABOUT,
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "responses": operation.errors,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, `pm_…`."},
                "rater": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "promptmill_rater",
                    "description": "Set by the button of a rater's link.",
                },
            },
        },
    }
