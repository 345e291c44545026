"""The messages of an item's chat, with calls of functions and their results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from common.given import Given, refuse
from common.types import JsonObject

MOST_CALLS = 128  # of one message
CallId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _is_none(value: object) -> bool:
    return value is None


class CalledFunction(Given):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    arguments: str = Field("{}", description="JSON, as text.")


class ToolCall(Given):
    """A function that an earlier answer called."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: CallId
    type: Literal["function"] = "function"
    function: CalledFunction


class ItemMessage(Given):
    """One message of a chat."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant", "tool"]
    tool_calls: list[ToolCall] | None = Field(
        None,
        min_length=1,
        max_length=MOST_CALLS,
        fail_fast=True,
        exclude_if=_is_none,
        description="The functions that an assistant's message calls.",
    )
    tool_call_id: CallId | None = Field(
        None,
        validate_default=True,
        exclude_if=_is_none,
        description="The call whose result a tool's message is.",
    )
    content: str | None = Field(
        None,
        validate_default=True,
        exclude_if=_is_none,
        description="May be left out where an assistant's message only calls functions.",
    )

    @field_validator("tool_calls")
    @classmethod
    def _assistant_calls(cls, calls: Any, info: ValidationInfo) -> Any:
        if calls and info.data.get("role", "assistant") != "assistant":
            raise refuse("is for messages of the role assistant")
        return calls

    @field_validator("tool_call_id")
    @classmethod
    def _tool_answers(cls, call_id: Any, info: ValidationInfo) -> Any:
        role = info.data.get("role")
        if role == "tool" and call_id is None:
            raise PydanticKnownError("missing")
        if role not in (None, "tool") and call_id is not None:
            raise refuse("is for messages of the role tool")
        return call_id

    @field_validator("content")
    @classmethod
    def _says_something(cls, content: Any, info: ValidationInfo) -> Any:
        # Calls that are wrong are not among the data, and are told of already.
        if content is None and not info.data.get("tool_calls", "wrong"):
            raise PydanticKnownError("missing")
        return content

    def plain(self) -> JsonObject:
        """The message as it is stored, and as chat templates take it."""
        return self.model_dump()


def message_texts(message: JsonObject) -> list[str]:
    """The texts of a stored message, for people and for searching."""
    calls = [
        f"{call['function']['name']} {call['function']['arguments']}"
        for call in message.get("tool_calls") or ()
    ]
    content = message.get("content")
    return [*([content] if content is not None else []), *calls]


def chat_text(messages: Iterable[JsonObject]) -> str:
    """Stored messages as one text, for people and for other models: a single message as it is, of
    several each with its role. Those without text are left out."""
    said = [(message["role"], "\n".join(message_texts(message))) for message in messages]
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in said if text)
