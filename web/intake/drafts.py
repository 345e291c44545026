"""A draft is an item as it was sent, before it is checked: from JSON, from a form, or from a line
of an upload."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import ErrorDict
from common.stored_item import SideItem, StoredItem

MALFORMED = "malformed_item"  # the code of a draft that could not be read


@dataclass(slots=True)
class Draft:
    """`value` is to become an `Item`. Or it could not be read: then `fault` says why, and `code` is
    the code of that error.

    `path` is its place in a JSON body (`items.3`, or `prompts.3` for a bare prompt), `line` the
    line of an upload in which it begins (from 1)."""

    value: Any = None
    path: str = ""
    line: int | None = None
    fault: str | None = None
    code: str = MALFORMED
    field: str = ""
    # Why it cannot be run, though it could be read.
    refused: ErrorDict | None = None
    # Stored beside the item, for the dialect that makes its answer.
    kept: StoredItem = dataclasses.field(default_factory=StoredItem)
    beside: SideItem = dataclasses.field(default_factory=SideItem)
    # Of an item that failed in another job: if it cannot run, it stays to fail in this one.
    stays: bool = False
    # What the item gets, as far as that fits, if it has none; None for what its job gets.
    default_max_tokens: int | None = None
    # What the sender calls the item's fields, by path or by an error's code.
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Of a row of a table, shared by all its rows: the names of all columns in order, and the Arrow
    # types of a Parquet file's.
    columns: Sequence[str] | None = None
    types: Mapping[str, str] | None = None

    @property
    def place(self) -> str:
        """Where it is in what was sent."""
        return f"line {self.line}" if self.line else self.path

    def at(self, field: str, code: object = "") -> str:
        """The path of one of the item's fields, as the sender knows it, for an error with this
        `code`."""
        if self.path.startswith("prompts"):
            return self.path
        field = self.names.get(str(code)) or self._sent_name(field)
        return ".".join(part for part in (self.path, field) if part)

    def told(self, message: str) -> str:
        """The message of an error, with the sender's names of the item's fields in it."""
        # A name like `prompt` may be a word.
        ours = [name for name in self.names if "_" in name or "." in name]
        ours = sorted((name for name in ours if name in message), key=len, reverse=True)
        if not ours:
            return message
        pattern = rf"(?<![\w./])(?:{'|'.join(map(re.escape, ours))})(?!\w)"
        return re.sub(pattern, lambda match: self.names[match[0]], message)

    def _sent_name(self, field: str) -> str:
        """What the sender calls a field: it may be inside one that has another name there."""
        name, inside = field, ""
        while name and name not in self.names:
            name, dot, last = name.rpartition(".")
            inside = f"{dot}{last}{inside}"
        return f"{self.names[name]}{inside}" if name else field


@dataclass(frozen=True)
class Drafts:
    """Drafts that can be read again: `read` begins anew each time. `input_file` is the id of the
    stored file that they are read from, if there is one."""

    read: Callable[[], Iterator[Draft]]
    input_file: str | None = None

    def __iter__(self) -> Iterator[Draft]:
        return self.read()


def bad_line(line: int, why: str, stays: bool) -> Draft:
    """The draft of a line of an upload that cannot be read. If it `stays`, it becomes an item that
    fails."""
    if not stays:
        return Draft(fault=why, line=line)
    return Draft({}, line=line, refused={"code": MALFORMED, "message": why})


def from_items(items: Iterable[Any]) -> Iterator[Draft]:
    for index, item in enumerate(items):
        yield Draft(item, path=f"items.{index}")


def from_prompts(prompts: Iterable[Any]) -> Iterator[Draft]:
    for index, prompt in enumerate(prompts):
        yield Draft({"prompt": prompt}, path=f"prompts.{index}")
