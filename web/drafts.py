"""A draft is one item as it came, unchecked: from JSON, from a form, or from a line of an upload."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Draft:
    """`value` is what should be an `Item`; or `fault` says why it could not even be read, `code` of what kind that is.

    `path` is where it stands in a JSON body (`items.3`, or `prompts.3` for a bare prompt), `line` where it begins in
    an upload (from 1).
    """

    value: Any = None
    path: str = ""
    line: int | None = None
    fault: str | None = None
    code: str = "malformed_item"
    field: str = ""
    refused: dict[str, object] | None = None  # why it cannot be run, though it was read: an entry of an error list
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)  # beside the item, for who makes its answer

    def at(self, field: str) -> str:
        """The path of one of the item's fields, as whoever sent it knows it."""
        if self.path.startswith("prompts"):
            return self.path
        return ".".join(part for part in (self.path, field) if part)


def from_items(items: Iterable[Any]) -> Iterator[Draft]:
    for index, item in enumerate(items):
        yield Draft(item, path=f"items.{index}")


def from_prompts(prompts: Iterable[Any]) -> Iterator[Draft]:
    for index, prompt in enumerate(prompts):
        yield Draft({"prompt": prompt}, path=f"prompts.{index}")
