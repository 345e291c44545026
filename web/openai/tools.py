"""Tools as OpenAI's clients send them, and how a request chooses among them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from common.errors import InvalidRequest
from common.given import refuse
from common.structured.tools import MOST_FUNCTIONS, Function, NamedFunction, ToolSet
from common.types import JsonObject
from web.openai.messages import OTHER_FIELDS
from web.schemas.base import Schema


def _is_function(kind: Any) -> Any:
    if isinstance(kind, str) and kind != "function":
        raise refuse(f"is {kind[:32]!r}; only functions are supported")
    return kind


class Tool(Schema):
    """A function that the answer may call."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    type: Annotated[Literal["function"], BeforeValidator(_is_function)]
    function: Function


Tools = Annotated[list[Tool], Field(max_length=MOST_FUNCTIONS, fail_fast=True)]


def _choice(value: Any) -> Any:
    """`auto`, `required`, or the function that is named."""
    if not isinstance(value, dict):
        if value not in ("auto", "required"):
            raise refuse('must be none, auto, required, or {"type": "function", "function": …}')
        return value
    kind, function = value.get("type"), value.get("function")
    if kind != "function":
        raise refuse(f"has the type {str(kind)[:32]!r}, which is not supported; name a function")
    is_named = isinstance(function, dict) and function.keys() == {"name"}
    if not is_named or value.keys() != {"type", "function"}:
        raise refuse('must be like {"type": "function", "function": {"name": "…"}}')
    return NamedFunction.model_validate(function)


CHOICE_SCHEMA = {
    "anyOf": [
        {"enum": ["none", "auto", "required"]},
        {
            "type": "object",
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
            },
            "required": ["type", "function"],
        },
    ]
}
ToolChoice = Annotated[
    Literal["auto", "required"] | NamedFunction,
    BeforeValidator(_choice),
    WithJsonSchema(CHOICE_SCHEMA),
]


def stored_tools(
    tools: list[Tool] | None, choice: str | NamedFunction | None, parallel: bool | None
) -> JsonObject | None:
    """A `ToolSet` as items keep it; None for a request without tools.

    Raises:
        InvalidRequest: naming the field that does not fit the others.
    """
    if not tools:
        if choice is not None:
            raise InvalidRequest("tool_choice needs tools", code="missing_field", field="tools")
        return None
    functions = [tool.function.model_dump(exclude_unset=True) for tool in tools]
    if isinstance(choice, NamedFunction) and all(each["name"] != choice.name for each in functions):
        message = f"tool_choice names {choice.name[:64]!r}, which is none of the tools"
        raise InvalidRequest(message, code="invalid_value", field="tool_choice")
    given: JsonObject = {"functions": functions}
    if choice not in (None, "auto"):
        given["choice"] = choice if isinstance(choice, str) else {"name": choice.name}
    if parallel is False:
        given["parallel"] = False
    try:
        return ToolSet.model_validate(given).stored()
    except ValidationError as error:
        message = f"tools {error.errors()[0]['msg']}"
        raise InvalidRequest(message, code="invalid_value", field="tools") from None
