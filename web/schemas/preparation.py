"""Field types of what prepares prompts: templates, variables, cleaning, truncation and
references."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticKnownError, PydanticSerializationError, to_json

from common.given import refuse
from common.params import whole
from web.schemas.base import Schema, either
from web.schemas.fields import Message

MOST_VARS = 200
LONGEST_NAME = 256  # characters of a variable's name, which may be empty
MOST_VARS_BYTES = 2**20  # of an item's variables, as JSON
MOST_TEMPLATE_BYTES = 128 * 2**10  # as JSON: every worker that runs the job holds it
MOST_TEMPLATE_MESSAGES = 64
MOST_REFERENCES = 16
MOST_REFERENCE_BYTES = 64 * 2**10  # of each, in UTF-8: metrics compare it with every output
MOST_TOKENS = 2**31 - 1


class PromptTemplate(Schema):
    """What prompts are made of: a text, or the messages of a chat. `{{name}}` stands for an item's
    variable."""

    model_config = ConfigDict(json_schema_extra=either("prompt", "messages"))

    prompt: str | None = Field(None, description="A text with `{{name}}` for variables.")
    messages: list[Message] | None = Field(
        None,
        max_length=MOST_TEMPLATE_MESSAGES,
        fail_fast=True,
        description="A chat; its contents may have `{{name}}` for variables.",
    )


def _bounded(template: PromptTemplate) -> PromptTemplate:
    if bool(template.prompt) == bool(template.messages):
        raise refuse("must have either prompt or messages, one of them, and not empty")
    size = len(template.model_dump_json(exclude_none=True).encode())
    if size > MOST_TEMPLATE_BYTES:
        raise refuse(f"has {size:,} bytes as JSON; it may have {MOST_TEMPLATE_BYTES:,}")
    return template


Template = Annotated[PromptTemplate, AfterValidator(_bounded)]

CleanStep = Literal["encoding", "unicode", "html", "controls", "whitespace"]
Clean = Annotated[list[CleanStep], Field(max_length=5, fail_fast=True)]


def _limit(value: Any) -> int | Literal["fit"]:
    value = whole(value)
    if value == "fit":
        return "fit"
    if type(value) is int and 1 <= value <= MOST_TOKENS:
        return value
    raise refuse(f'must be a number of tokens from 1 to {MOST_TOKENS:,}, or "fit"')


_LIMIT_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_TOKENS}, {"const": "fit"}]
}
VariableName = Annotated[str, StringConstraints(max_length=LONGEST_NAME)]


class Truncation(Schema):
    """How a text that is too long is cut, in the model's tokens."""

    to: Annotated[Any, PlainValidator(_limit), WithJsonSchema(_LIMIT_SCHEMA)] = Field(
        description="Tokens that the text may have; `fit`: as many as the model's context leaves."
    )
    keep: Literal["start", "end", "both"] = Field(
        "start", description="Which part of the text stays."
    )
    variable: VariableName | None = Field(
        None, description="The variable to cut; may be left out if the template has only one."
    )


def _variables(value: Any) -> dict[str, Any]:
    if type(value) is not dict or not all(type(name) is str for name in value):
        raise PydanticKnownError("dict_type")
    if len(value) > MOST_VARS:
        raise refuse(f"has {len(value):,} names; it may have {MOST_VARS}")
    if longest := next((name for name in value if len(name) > LONGEST_NAME), None):
        raise refuse(
            f"has a name of {len(longest):,} characters, {longest[:64]!r}…; a name may have "
            f"{LONGEST_NAME}"
        )
    try:
        size = len(to_json(value))
    except PydanticSerializationError:
        raise refuse("is not valid Unicode, or no JSON") from None
    if size > MOST_VARS_BYTES:
        raise refuse(f"has {size:,} bytes as JSON; it may have {MOST_VARS_BYTES:,}")
    return value


_VARIABLES_SCHEMA: JsonDict = {
    "type": "object",
    "additionalProperties": True,
    "maxProperties": MOST_VARS,
    "propertyNames": {"maxLength": LONGEST_NAME},
}
# Checked by hand: Pydantic's JsonValue calls Python for each value, and a table has millions. Their
# sources make nothing but JSON.
Variables = Annotated[Any, PlainValidator(_variables), WithJsonSchema(_VARIABLES_SCHEMA)]


def _references(value: Any) -> str | list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise refuse("must be text, or a list of texts")
    if not 1 <= len(texts) <= MOST_REFERENCES:
        raise refuse(f"has {len(texts):,} texts; it must have 1 to {MOST_REFERENCES}")
    # Most are so short that their bytes need not be counted.
    size = max(
        (
            len(each.encode(errors="surrogatepass"))
            for each in texts
            if len(each) * 4 > MOST_REFERENCE_BYTES
        ),
        default=0,
    )
    if size > MOST_REFERENCE_BYTES:
        raise refuse(f"has a text of {size:,} bytes; each may have {MOST_REFERENCE_BYTES:,}")
    return value


_REFERENCE_SCHEMA = {
    "anyOf": [
        {"type": "string", "maxLength": MOST_REFERENCE_BYTES},
        {
            "type": "array",
            "items": {"type": "string", "maxLength": MOST_REFERENCE_BYTES},
            "minItems": 1,
            "maxItems": MOST_REFERENCES,
        },
    ]
}
# Checked by hand: of a union Pydantic names every member in its errors.
Reference = Annotated[Any, PlainValidator(_references), WithJsonSchema(_REFERENCE_SCHEMA)]
PresetName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
