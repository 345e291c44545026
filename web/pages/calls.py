"""How the pages show calls of functions: those in the messages of a prompt, and those that an
answer makes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.structured.tool_calls import Arguments, Called, Said, reader_of


@dataclass
class Answer:
    """What an answer says, and the calls it makes: name and arguments as JSON of each."""

    text: str = ""
    calls: list[list[str]] = field(default_factory=list)


def answer(text: str, tools: Mapping[str, Any]) -> Answer:
    """The answer of an item that has these functions."""
    reader = reader_of(tools)
    found = Answer()
    for part in [*reader.feed(text), *reader.finish()]:
        match part:
            case Said():
                found.text += part.text
            case Called():
                found.calls.append([part.name, ""])
            case Arguments():
                found.calls[part.index][1] += part.text
    return found


def choice_words(tools: Mapping[str, Any]) -> str:
    """Whether the answer has to call one of the functions."""
    choice = tools.get("choice", "auto")
    if isinstance(choice, Mapping):
        return f"has to call {choice['name']}"
    return "has to call one" if choice == "required" else "may call them"


FILTERS: dict[str, Any] = {"answer": answer, "choice_words": choice_words}
