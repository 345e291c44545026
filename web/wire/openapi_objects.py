"""The objects of an OpenAPI document that are written here, as OpenAPI 3.1 names their fields."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from pydantic.json_schema import JsonSchemaValue


class MediaType(TypedDict):
    schema: JsonSchemaValue
    encoding: NotRequired[dict[str, dict[str, str]]]


Content = dict[str, MediaType]  # by media type

# With a field that is called `in`, which no class can have.
Parameter = TypedDict(
    "Parameter",
    {
        "name": str,
        "in": str,
        "required": bool,
        "schema": JsonSchemaValue,
        "description": NotRequired[str],
    },
)


class Header(TypedDict):
    description: str
    required: bool
    schema: JsonSchemaValue


class Answer(TypedDict):
    """A response object."""

    description: str
    headers: dict[str, Header]
    content: NotRequired[Content]


Reference = TypedDict("Reference", {"$ref": str})


class Body(TypedDict):
    """A request body object."""

    required: bool
    content: Content


class Operation(TypedDict):
    operationId: str
    summary: str
    parameters: list[Parameter]
    responses: dict[str, Answer | Reference]
    security: NotRequired[list[dict[str, list[str]]]]
    requestBody: NotRequired[Body]
