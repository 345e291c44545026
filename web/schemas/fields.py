"""Field types of requests: chat messages, custom ids and metadata."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from common.given import Given
from common.params import whole


class Message(Given):
    """One chat message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


def _numbered(value: Any) -> Any:
    value = whole(value)
    return str(value) if type(value) is int else value


CustomId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    BeforeValidator(_numbered, json_schema_input_type=str | int),
]
MOST_CONTINUATIONS = 64  # of an item
Continuations = Annotated[
    list[Annotated[str, StringConstraints(min_length=1)]],
    Field(min_length=1, max_length=MOST_CONTINUATIONS, fail_fast=True),
]
MOST_JOB_METADATA = 16_384  # characters, of names and values together
# More than a job's, because columns of a table other than the prompt become metadata.
MOST_ITEM_METADATA = 65_536
Label = str | int | float | bool | None


def _at_most(characters: int) -> AfterValidator:
    def check(value: dict[str, Label]) -> dict[str, Label]:
        size = sum(len(name) + len(str(label)) for name, label in value.items())
        if size > characters:
            message = (
                f"has {size:,} characters, names and values together; it may have {characters:,}"
            )
            raise PydanticCustomError("refused", "{message}", {"message": message})
        return value

    return AfterValidator(check)


JobMetadata = Annotated[dict[str, Label], Field(max_length=16), _at_most(MOST_JOB_METADATA)]
ItemMetadata = Annotated[dict[str, Label], Field(max_length=16), _at_most(MOST_ITEM_METADATA)]
# OpenAI's bounds, for its dialect.
ShortName = Annotated[str, StringConstraints(max_length=64)]
ShortText = Annotated[str, StringConstraints(max_length=512)]
ShortMetadata = Annotated[
    dict[ShortName, ShortText | int | float | bool | None], Field(max_length=16)
]
