"""JSON Schemas of requests for `/openapi.json`, with everything that the models accept.

Validators accept more than a model's types say: null for "not given", one text for a list of texts.
What they accept is found by asking the model itself, so that the schema follows the code.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

NULL = {"type": "null"}
# Keys of a schema that do not restrict its values.
ABOUT = {"title", "description", "default", "examples"}


class RequestSchemas(GenerateJsonSchema):
    """Pydantic's schemas, with what validators accept in addition."""

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
    """Whether the field accepts this value; errors of other fields do not matter."""
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        return not any(found["loc"][:1] == (name,) for found in error.errors(include_url=False))
    return True


def _takes_null_already(field: JsonSchemaValue) -> bool:
    constraints = field.keys() - ABOUT
    return not constraints or NULL in field.get("anyOf", ()) or None in field.get("enum", ())


def _widen(field: JsonSchemaValue, more: list[JsonSchemaValue]) -> None:
    """Let the schema accept what it did, or one of these."""
    own = {name: field.pop(name) for name in list(field) if name not in ABOUT}
    field["anyOf"] = [*(own["anyOf"] if own.keys() == {"anyOf"} else [own]), *more]


def in_query(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema of a field as a parameter of the query, which is text and never null."""
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
    """The schema of a form with a file and a model's fields. Its parts are text; those of an object
    are called `name[inner]`."""
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
