"""The prompts in the form's text box, and items made to chats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PastedPrompt:
    """A prompt from the text box, and the line it begins on (from 1)."""

    text: str
    line: int


def read_prompts(text: str, split: str) -> Iterator[PastedPrompt]:
    """The prompts in the text box: one a line, or (`split="blank"`) paragraphs with empty lines
    between them."""
    paragraph: list[str] = []
    before = 0  # number of the line before
    for number, line in _lines_with_text(text):
        if paragraph and (split != "blank" or number > before + 1):
            yield PastedPrompt("\n".join(paragraph).strip(), before - len(paragraph) + 1)
            paragraph = []
        paragraph.append(line)
        before = number
    if paragraph:
        yield PastedPrompt("\n".join(paragraph).strip(), before - len(paragraph) + 1)


def _lines_with_text(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1. No list of all lines is made: a text
    may have millions of blank ones."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    number, counted = 1, 0
    not_blank = re.compile(r"\S")
    while found := not_blank.search(text, counted):
        number += text.count("\n", counted, found.start())
        begin = text.rfind("\n", 0, found.start()) + 1
        end = text.find("\n", begin)
        counted = len(text) if end < 0 else end
        yield number, text[begin:counted]


def as_chat(item: Any) -> Any:
    """An item with its prompt as a user's message. What has no prompt, or is no object, stays as it
    is and is refused later."""
    if not isinstance(item, dict) or not item.get("prompt") or "messages" in item:
        return item
    rest = {name: value for name, value in item.items() if name != "prompt"}
    return {**rest, "messages": [{"role": "user", "content": item["prompt"]}]}
