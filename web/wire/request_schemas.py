"""JSON Schemas of requests as the models really take them, for `/openapi.json`.

What a model's validators accept beyond its types (null for "not given", one text for a list of
texts) is found by asking the model itself, so that the description follows the code.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

NULL = {"type": "null"}
# What says nothing about which values are taken.
ABOUT = {"title", "description", "default", "examples"}


class RequestSchemas(GenerateJsonSchema):
    """Pydantic's schemas, with what validators take besides."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        if self.mode == "validation":
            for name, field in found.get("properties", {}).items():
                more = (
                    [field["items"]]
                    if field.get("type") == "array" and takes(schema["cls"], name, "x")
                    else []
                )
                if not _takes_null_already(field) and takes(schema["cls"], name, None):
                    more.append(NULL)
                if more:
                    _widen(field, more)
        return found


def takes(model: type[BaseModel], name: str, value: Any) -> bool:
    """Whether the field takes this value; what else is missing or wrong does not matter."""
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        return not any(found["loc"][:1] == (name,) for found in error.errors(include_url=False))
    return True


def _takes_null_already(field: JsonSchemaValue) -> bool:
    constraints = field.keys() - ABOUT
    return not constraints or NULL in field.get("anyOf", ()) or None in field.get("enum", ())


def _widen(field: JsonSchemaValue, more: list[JsonSchemaValue]) -> None:
    """Let the field be what it was, or one of these."""
    own = {name: field.pop(name) for name in list(field) if name not in ABOUT}
    field["anyOf"] = [*(own["anyOf"] if own.keys() == {"anyOf"} else [own]), *more]


def in_query(schema: JsonSchemaValue) -> JsonSchemaValue:
    """A field's schema as a query's parameter, which is text and never null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != NULL]
    found = {
        name: value
        for name, value in schema.items()
        if name != "anyOf" and (name, value) != ("default", None)
    }
    if len(kinds) == 1:
        return found | kinds[0]
    return found | ({"anyOf": kinds} if kinds else {})


def form(
    schema: JsonSchemaValue, schemas: JsonSchemaValue, file: JsonSchemaValue
) -> JsonSchemaValue:
    """A file and a model's fields as a form has them, whose parts are text: `name[inner]` for those
    of an object."""
    found: JsonSchemaValue = {"file": file}
    together: dict[str, list[str]] = {}
    for name, field in schema["properties"].items():
        for kind in field.get("anyOf", [field]):
            if "$ref" in kind:
                inner = schemas[kind["$ref"].rsplit("/", 1)[-1]]
                parts = {f"{name}[{part}]": each for part, each in inner["properties"].items()}
                found |= parts
                together |= {
                    part: [f"{name}[{each}]" for each in inner.get("required", ())]
                    for part in parts
                }
            elif kind != NULL:
                found[name] = kind
    return {
        "type": "object",
        "properties": found,
        "required": ["file", *schema.get("required", ())],
        "dependentRequired": together,
        "additionalProperties": False,
    }
