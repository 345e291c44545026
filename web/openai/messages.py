"""Messages of a chat as OpenAI's clients send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator
from pydantic.config import JsonDict

from common.given import refuse
from common.types import JsonObject
from web.schemas.base import Schema
from web.schemas.messages import ItemMessage

# For `/openapi.json`: unknown fields may be sent, because some are ignored.
OTHER_FIELDS: JsonDict = {"additionalProperties": True}


class TextPart(Schema):
    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    type: Literal["text"]
    text: str


TEXT_PART = TextPart.model_json_schema()


class ChatMessage(ItemMessage):
    """One message; a list of text parts is joined with line breaks."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    role: Literal["system", "developer", "user", "assistant", "tool"]  # type: ignore[assignment]
    content: Annotated[
        str | None,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": TEXT_PART},
                    {"type": "null"},
                ]
            }
        ),
    ] = Field(None, validate_default=True)

    @field_validator("role", mode="before")
    @classmethod
    def _refuse_functions(cls, role: Any) -> Any:
        if role == "function":
            raise refuse("is not supported: functions are called tools by now")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text":
                raise refuse(
                    f"has a part of type {str(kind)[:32]!r}; only text is supported, no images, "
                    "audio or files"
                )
        return "\n".join(TextPart.model_validate(part).text for part in content)

    def plain(self) -> JsonObject:
        """The message as it is stored, and as chat templates take it; `developer` is a system
        message."""
        found = super().plain()
        return found | {"role": "system"} if self.role == "developer" else found
