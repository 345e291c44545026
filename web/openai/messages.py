"""Messages of a chat as OpenAI's clients send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, WithJsonSchema, field_validator
from pydantic.config import JsonDict

from common.given import refuse
from web.schemas.base import Schema

# For `/openapi.json`: unknown fields may be sent, because some are ignored.
OTHER_FIELDS: JsonDict = {"additionalProperties": True}


class TextPart(Schema):
    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    type: Literal["text"]
    text: str


TEXT_PART = TextPart.model_json_schema()


class ChatMessage(Schema):
    """One message; a list of text parts is joined with line breaks."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}]})
    ]

    @field_validator("role", mode="before")
    @classmethod
    def _refuse_tools(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise refuse("is not supported: tools are not supported")
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

    def plain(self) -> dict[str, str]:
        """The message as chat templates take it; `developer` is a system message."""
        return {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.content,
        }
