"""Reads the calls out of an answer while it comes: what is text, what is a call.

A call is written as the families of models write it, whichever model it is:

    <tool_call>{"name": "f", "arguments": {…}}</tool_call>        Hermes, Qwen
    {"name": "f", "parameters": {…}}                              Llama 3, as the whole answer
    [{"name": "f", "arguments": {…}}, …]                          Mistral, as the whole answer

The special tokens with which some families begin (`<|python_tag|>`, `[TOOL_CALLS]`) are not part of
a text, but may be. What is no call of a function that may be called stays text, as it is. However
an answer is cut into pieces, it reads the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common.structured.call_scanner import SPACE, CallScanner

BEGIN, END = "<tool_call>", "</tool_call>"
MARKERS = ("[TOOL_CALLS]", "<|python_tag|>")
NO_SPACE = re.compile(r"[^ \t\n\r]")
SURE = len("<tool")  # characters of a tag that are hardly anything else
MOST_AT_ONCE = 4096  # characters that a call is given: it may end soon

Kind = Literal["tagged", "alone", "list"]


@dataclass(frozen=True, slots=True)
class Said:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """The next call of the answer begins; `index` counts them."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """The next piece of that call's arguments, which are an object of JSON."""

    index: int
    text: str


Part = Said | Called | Arguments


class CallReader:
    """Reads one answer. With `forced`, a grammar holds it to calls, whose parts then come while
    they are written; else a call comes when all of it is there and proves to be one. With `single`
    only the first call counts."""

    def __init__(self, names: Collection[str], *, forced: bool = False, single: bool = False):
        self._names = names
        self._forced = forced
        self._single = single
        self.count = 0  # calls by now
        self._held = ""  # what came and is neither text nor call yet
        self._at = 0  # how much of it was read
        self._said = False  # there was text, behind the last call if there was one
        self._call: CallScanner | None = None
        self._kind: Kind = "tagged"
        self._opening = ""  # of the open call, as it was written
        self._after: Kind | None = None  # a call of this kind ended just now
        self._begun = False  # the open call was told
        self._told = 0  # characters of its arguments that were told
        self.dropped = False  # the beginning of a call that was cut off is no text

    def feed(self, text: str) -> list[Part]:
        """What these characters make certain."""
        self._held += text
        return self._read(ends=False)

    def finish(self, *, cut: bool = False) -> list[Part]:
        """The rest: no more characters will come. Of a call that is not complete because the answer
        was `cut` off, what there is comes if its name is there, and nothing if it is not."""
        parts: list[Part] = []
        if cut:
            self._drop_beginning(parts)
        parts += self._read(ends=True)
        if self._call is not None:
            if not self._begun:
                self._say(parts, self._opening + self._call.text)
            self._call = None
        if self._held.strip() or not self.count:
            self._say(parts, self._held)
        self._held = ""
        return parts

    def _drop_beginning(self, parts: list[Part]) -> None:
        """Take out of what is held what can only be of a call that was cut off."""
        if self._call is not None:
            if self._is_call(self._call):
                self._tell(parts, self._call)
                self._call, self.dropped = None, True
            return
        length = _beginning(self._held, BEGIN)
        between = self._after is not None or (self.count > 0 and not self._said)
        has_marker = self._held.lstrip(SPACE).startswith(MARKERS)
        # Nothing but a call may stand here.
        if self._forced or between or has_marker:
            length = len(self._held)
        elif length < SURE:
            return
        if length:
            self._held, self.dropped = self._held[:-length].rstrip(SPACE), True

    def _is_call(self, call: CallScanner) -> bool:
        """Whether what was cut off is a call, and not JSON that is the answer."""
        if self._forced or self._kind == "tagged" or self.count:
            return True
        has_marker = self._opening.lstrip(SPACE).startswith(MARKERS)
        return has_marker or (call.name is not None and call.arguments.startswith("{"))

    def _read(self, ends: bool) -> list[Part]:
        parts: list[Part] = []
        self._at = 0
        while self._advance(parts, ends):
            pass
        self._held = self._held[self._at :]
        return parts

    def _advance(self, parts: list[Part], ends: bool) -> bool:
        """One step with what is held from `_at` on; whether another may follow."""
        if self._call is not None:
            return self._read_call(parts, self._call)
        if self._after is not None:
            return self._leave_call(self._after, ends)
        if not self._said and not self.count and not ends and self._begins():
            return self._call is not None
        return self._read_text(parts)

    def _begins(self) -> bool:
        """Whether the answer may be nothing but calls; opens the first if it is there."""
        at = self._skip(self._at)
        for marker in MARKERS:
            if self._held.startswith(marker, at):
                at = self._skip(at + len(marker))
                break
            if marker.startswith(self._held[at : at + len(marker)]):
                return True
        kind: Kind = "alone"
        if self._held.startswith("[", at):
            kind, at = "list", self._skip(at + 1)
        if self._held.startswith("{", at):
            self._open(kind, at)
        return at == len(self._held) or self._call is not None

    def _read_text(self, parts: list[Part]) -> bool:
        begin = self._held.find(BEGIN, self._at)
        end = begin if begin >= 0 else len(self._held) - _beginning(self._held[self._at :], BEGIN)
        text = self._held[self._at : end].rstrip(SPACE)
        self._say(parts, text)
        self._at += len(text)
        if begin < 0:
            return False
        self._open("tagged", begin + len(BEGIN))
        return True

    def _say(self, parts: list[Part], text: str) -> None:
        if text:
            self._said = True
            parts.append(Said(text))

    def _open(self, kind: Kind, end: int) -> None:
        self._kind, self._opening, self._at = kind, self._held[self._at : end], end
        self._call, self._begun, self._told = CallScanner(self._names), False, 0

    def _read_call(self, parts: list[Part], call: CallScanner) -> bool:
        while self._at < len(self._held) and call.state == "open":
            self._at += call.feed(self._held[self._at : self._at + MOST_AT_ONCE])
        if self._forced:
            self._tell(parts, call)
        if call.state == "open":
            return False
        self._call = None
        if call.state == "done" and self._ends_well(parts, call):
            self._after, self._said = self._kind, False
        else:
            self._say(parts, self._opening + call.text)
        return True

    def _tell(self, parts: list[Part], call: CallScanner) -> None:
        """The part of a call that is there by now."""
        if self._single and self.count and not self._begun:
            return
        if not self._begun and (name := call.name) is not None:
            self._begin(parts, name)
        arguments = call.arguments
        # An object that is written as text is told as a whole, if at all.
        if self._begun and arguments.startswith("{") and (more := arguments[self._told :]):
            self._told += len(more)
            parts.append(Arguments(self.count - 1, more))

    def _begin(self, parts: list[Part], name: str) -> None:
        self._begun = True
        self.count += 1
        parts.append(Called(self.count - 1, name))

    def _ends_well(self, parts: list[Part], call: CallScanner) -> bool:
        """Whether what ended is a call; tells it, if it was not told."""
        if self._begun:
            return True
        arguments, name = call.whole_arguments(), call.name
        if arguments is None or name is None:
            return False
        if not (self._single and self.count):
            self._begin(parts, name)
            parts.append(Arguments(self.count - 1, arguments))
        return True

    def _leave_call(self, after: Kind, ends: bool) -> bool:
        """Take what ends a call or stands between two."""
        at = self._skip(self._at)
        closing = {"tagged": END, "alone": ";", "list": ","}[after]
        if not self._held.startswith(closing, at):
            if not ends and closing.startswith(self._held[at : at + len(closing)]):
                return False
            if after == "list" and self._held.startswith("]", at):
                self._at = at + 1
            self._after = None
            return True
        if after == "tagged":
            self._at, self._after = at + len(END), None
            return True
        follows = self._skip(at + 1)
        if follows == len(self._held) and not ends:
            return False
        if self._held.startswith("{", follows):
            self._at = at
            self._open(after, follows)
        self._after = None
        return True

    def _skip(self, at: int) -> int:
        """The place of the next character from here on that is no space."""
        found = NO_SPACE.search(self._held, at)
        return found.start() if found else len(self._held)


def _beginning(text: str, tag: str) -> int:
    """How many characters at the end of a text may be the beginning of the tag."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0


def reader_of(tools: Mapping[str, Any]) -> CallReader:
    """Reads one answer that may call these functions, as items keep them."""
    choice = tools.get("choice", "auto")
    named = choice["name"] if isinstance(choice, Mapping) else None
    return CallReader(
        {each["name"] for each in tools["functions"]} if named is None else {named},
        forced=choice != "auto",
        single=named is not None or not tools.get("parallel", True),
    )
