"""The formats of answers as OpenAI's and vLLM's clients ask for them, and as `params.output` has
them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from common.errors import InvalidRequest
from common.given import refuse
from common.structured.closed_schema import closed
from common.structured.output_format import JsonSchema, Labels, OutputFormat, Source
from common.types import JsonObject
from web.openai.messages import OTHER_FIELDS
from web.schemas.base import Schema


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _parsed(value: Any) -> Any:
    """A schema that was sent as the text of its JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise refuse("must be a JSON Schema, an object or its text") from None


SentSchema = Annotated[
    JsonSchema,
    BeforeValidator(_parsed),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}]}),
]
Choice = Annotated[Labels, BeforeValidator(_as_tuple)]


class NamedSchema(Schema):
    """A JSON Schema. An answer is held to it whether `strict` or not."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    given: JsonSchema | None = Field(None, alias="schema", description="Without it, any object.")
    strict: bool | None = None


class ResponseFormat(Schema):
    """What an answer must be."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = Field(None, description="With the type json_schema.")


class StructuredOutputs(Schema):
    """vLLM's: one of these."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    # Pydantic's models have a method `json`.
    by_schema: SentSchema | None = Field(None, alias="json")
    regex: Source | None = None
    choice: Choice | None = None
    grammar: Source | None = Field(None, description="In Lark.")
    json_object: bool | None = None


class FormatFields(Schema):
    """The fields of a request that ask for a format."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = Field(None, description="vLLM's.")
    guided_json: SentSchema | None = Field(None, description="vLLM's, of before.")
    guided_regex: Source | None = None
    guided_choice: Choice | None = None
    guided_grammar: Source | None = Field(None, description="In Lark.")


class AskedFormat(NamedTuple):
    """A format as `params.output` has it. `names` are the client's names of its fields."""

    output: JsonObject
    names: dict[str, str]


def asked_format(fields: Any, output: OutputFormat | None) -> AskedFormat | None:
    """The format that a request with `FormatFields` asks for, in these or as `output`.

    Raises:
        InvalidRequest: it asks for several.
    """
    found = list(_formats(fields))
    if output is not None:
        found.append(("output", "output", output.model_dump(mode="json")))
    if len(found) > 1:
        (first, *_), (field, *_) = found[:2]
        message = f"{first} and {field} each ask for a format; an answer has one"
        raise InvalidRequest(message, code="invalid_value", field=field)
    if not found:
        return None
    field, place, asked = found[0]
    if output is None and "json_schema" in asked:
        asked = {"json_schema": closed(asked["json_schema"])}
    (kind,) = asked.keys() - {"probabilities"}
    return AskedFormat(asked, {f"params.output.{kind}": place, "params.output": field})


def _formats(fields: Any) -> Iterator[tuple[str, str, JsonObject]]:
    """Each format that is asked for: its field, the place in that of what it must be, and what
    `params.output` says for it."""
    if (wanted := fields.response_format) is not None and wanted.type != "text":
        yield _response_format(wanted)
    given = fields.structured_outputs
    if given is not None:
        for name, kind, value in (
            ("json", "json_schema", given.by_schema),
            ("regex", "regex", given.regex),
            ("choice", "choice", given.choice),
            ("grammar", "grammar", given.grammar),
            ("json_object", "json", given.json_object or None),
        ):
            if value is not None:
                yield "structured_outputs", f"structured_outputs.{name}", {kind: _plain(value)}
    for name, kind in (
        ("guided_json", "json_schema"),
        ("guided_regex", "regex"),
        ("guided_choice", "choice"),
        ("guided_grammar", "grammar"),
    ):
        if (value := getattr(fields, name)) is not None:
            yield name, name, {kind: _plain(value)}


def _response_format(wanted: ResponseFormat) -> tuple[str, str, JsonObject]:
    field = "response_format"
    if wanted.type == "json_object":
        return field, field, {"json": True}
    if wanted.json_schema is None:
        raise InvalidRequest(
            "response_format.json_schema is required with the type json_schema",
            code="missing_field",
            field="response_format.json_schema",
        )
    if wanted.json_schema.given is None:
        return field, field, {"json": True}
    return field, "response_format.json_schema.schema", {"json_schema": wanted.json_schema.given}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
